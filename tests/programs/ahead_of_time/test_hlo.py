"""Operations, cycles and copies counted in small programs that were written by hand."""

from pfr_jax.programs.ahead_of_time.hlo import Work, parse, stack_copies, work

# Three blocks (an argument), in each of which a scan of five steps runs two fusions.
PROGRAM = """HloModule jit_round, is_scheduled=true

%fused_computation.1 (param_0: f32[8]) -> f32[8] {
  %param_0 = f32[8]{0} parameter(0)
  %copy.9 = f32[6,4,2]{2,1,0} copy(%param_0)
  ROOT %negate.1 = f32[8]{0} negate(%param_0), backend_config={"estimated_cycles":"1000"}
}

%scan_condition (arg: (s32[], f32[8])) -> pred[] {
  %arg = (s32[], f32[8]{0}) parameter(0)
  %constant.1 = s32[]{:T(128)} constant(5)
  %get-tuple-element.1 = s32[] get-tuple-element(%arg), index=0
  ROOT %lt.1 = pred[] compare(%get-tuple-element.1, %constant.1), direction=LT
}

%scan_body (arg: (s32[], f32[8])) -> (s32[], f32[8]) {
  %arg.1 = (s32[], f32[8]{0}) parameter(0)
  %fusion.1 = f32[8]{0} fusion(%arg.1), calls=%fused_computation.1, b={"estimated_cycles":"70"}
  %fusion.2 = f32[8]{0} fusion(%fusion.1), calls=%fused_computation.1, b={"estimated_cycles":"30"}
  ROOT %tuple.1 = (s32[], f32[8]{0}) tuple(%arg.1, %fusion.2)
}

%block_condition (arg: (s32[], s32[])) -> pred[] {
  %arg.2 = (s32[], s32[]) parameter(0)
  ROOT %lt.2 = pred[] compare(%arg.2, %arg.2), direction=LT
}

%block_body (arg: (s32[], s32[])) -> (s32[], s32[]) {
  %arg.3 = (s32[], s32[]) parameter(0)
  %while.1 = (s32[], f32[8]{0}) while(%arg.3), condition=%scan_condition, body=%scan_body
  %fusion.4 = f32[8]{0} fusion(%arg.3), calls=%fused_computation.1, b={"estimated_cycles":"7"}
  ROOT %copy.1 = f32[4,1,6,2]{3,2,1,0} copy(%fusion.4)
}

ENTRY %main.1 (state: f32[6,4,2]) -> f32[6,4,2] {
  %state = f32[6,4,2]{2,1,0} parameter(0)
  %while.2 = (s32[], s32[]) while(%state), condition=%block_condition, body=%block_body
  %copy-start.1 = (f32[6,4,2]{2,1,0:S(1)}, f32[6,4,2]{2,1,0}, u32[]) copy-start(%state)
  %copy-done.1 = f32[6,4,2]{2,1,0:S(1)} copy-done(%copy-start.1)
  %fusion.5 = f32[2,6,4]{2,1,0} fusion(%copy-done.1), calls=%transpose_fusion
  ROOT %sort.1 = f32[6,4,3]{2,1,0} sort(%fusion.5), b={"estimated_cycles":"9223372036854775807"}
}
"""


def test_loops_run_as_often_as_they_say_or_as_the_caller_expects() -> None:
    module = parse(PROGRAM)
    # A block: 5 x 2 fusions of the scan, a fusion and a copy. The entry: copy-start, fusion, sort.
    assert work(module, (3,)) == Work(3 * 12 + 3, 3 * (5 * 100 + 7))
    assert work(module) == Work(12 + 3, 507)


def test_the_number_of_runs_that_the_compiler_tells_counts() -> None:
    told = PROGRAM.replace(
        "condition=%block_condition, body=%block_body",
        'condition=%block_condition, body=%block_body, b={"known_trip_count":{"n":"2"}}',
    )
    assert work(parse(told), (3,)).operations == 2 * 12 + 3


def test_copies_of_stacks_in_any_order_of_axes() -> None:
    """The copy in the block and the transposing fusion; not the one to the vector memory, nor what
    is inside of a fusion."""
    found = stack_copies(parse(PROGRAM), [(6, 4, 2)])
    assert found == ["f32[4,1,6,2]{3,2,1,0}", "f32[2,6,4]{2,1,0}"]
    assert stack_copies(parse(PROGRAM), [(6, 4, 3)]) == []
