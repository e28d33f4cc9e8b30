"""Operations, cycles and copies counted in small programs that were written by hand."""

import pytest

from pfr_jax.programs.ahead_of_time.chips import SECONDS_PER_KERNEL, Chip
from pfr_jax.programs.ahead_of_time.hlo import parse, stack_copies
from pfr_jax.programs.ahead_of_time.work import Work, work

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
    assert work(module, (3,))[:2] == (3 * 12 + 3, 3 * (5 * 100 + 7))
    assert work(module)[:2] == (12 + 3, 507)


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


# Fusions: one gathers 3 rows of 100, one writes 2 rows of a stack in place, one reads operands
# whole. A gather and a scatter outside of fusions.
MOVING = """HloModule jit_round, is_scheduled=true

%gathering (table: f32[100,8], rows: s32[3]) -> f32[3,8] {
  %table = f32[100,8]{1,0} parameter(0)
  %rows = s32[3]{0} parameter(1)
  %turned = f32[100,8]{1,0} bitcast(%table)
  ROOT %gather.1 = f32[3,8]{1,0} gather(%turned, %rows), offset_dims={1}
}

%updating (stack: f32[50,8], new: f32[2,8], at: s32[]) -> f32[50,8] {
  %stack = f32[50,8]{1,0} parameter(0)
  %new = f32[2,8]{1,0} parameter(1)
  %at = s32[] parameter(2)
  ROOT %dynamic-update-slice.1 = f32[50,8]{1,0} dynamic-update-slice(%stack, %new, %at)
}

%inside (stack.1: f32[50,8], new.1: f32[2,8], at.1: s32[]) -> f32[] {
  %stack.1 = f32[50,8]{1,0} parameter(0)
  %new.1 = f32[2,8]{1,0} parameter(1)
  %at.1 = s32[] parameter(2)
  %zeros.1 = f32[4,8]{1,0} broadcast(%at.1)
  %update.1 = f32[4,8]{1,0} dynamic-update-slice(%zeros.1, %new.1, %at.1)
  ROOT %reduce.2 = f32[] reduce(%stack.1, %update.1)
}

%whole (left: bf16[10,4], right: pred[10]) -> f32[10] {
  %left = bf16[10,4]{1,0} parameter(0)
  %right = pred[10]{0} parameter(1)
  ROOT %reduce.1 = f32[10]{0} reduce(%left, %right)
}

ENTRY %main.1 (table: f32[100,8]) -> f32[50,8] {
  %t = f32[100,8]{1,0} parameter(0)
  %r = s32[3]{0} parameter(1)
  %s = f32[50,8]{1,0} parameter(2)
  %n = f32[2,8]{1,0} parameter(3)
  %a = s32[] parameter(4)
  %l = bf16[10,4]{1,0} parameter(5)
  %p = pred[10]{0} parameter(6)
  ROW
}
"""


@pytest.mark.parametrize(
    ("row", "moved"),
    [
        ("%f = f32[3,8]{1,0} fusion(%t, %r), kind=kLoop, calls=%gathering", 2 * 96 + 12),
        ("%f = f32[50,8]{1,0} fusion(%s, %n, %a), kind=kLoop, calls=%updating", 64 + 4 + 64),
        ("%f = f32[] fusion(%s, %n, %a), kind=kLoop, calls=%inside", 1600 + 64 + 4 + 4),
        ("%c = (f32[9], f32[9], u32[]) copy-start(%p)", 2 * 10),
        ("%d = f32[50,8]{1,0} dynamic-update-slice(%s, %n, %a)", 64 + 4 + 64),
        ("%f = f32[10]{0} fusion(%l, %p), kind=kInput, calls=%whole", 80 + 10 + 40),
        ("%g = f32[3,8]{1,0} gather(%t, %r), offset_dims={1}", 2 * 96 + 12),
        ("%u = f32[50,8]{1,0} scatter(%s, %a, %n), to_apply=%add", 4 + 64 + 2 * 64),
        ("%c = f32[100,8]{0,1} copy(%t)", 2 * 3200),
        ("%b = f32[800]{0} bitcast(%t)", 0),
    ],
)
def test_bytes_are_those_of_the_rows_that_are_read_and_written(row: str, moved: int) -> None:
    assert work(parse(MOVING.replace("ROW", row))).bytes == moved


def test_a_gpus_time_is_bytes_over_bandwidth_and_launches() -> None:
    gpu = Chip("cuda", "", "", bytes_per_second=1e9)
    assert gpu.seconds(Work(2, 0, 500)) == pytest.approx(2 * SECONDS_PER_KERNEL + 5e-7)
    assert Chip("tpu", "", "", hertz=2e9).seconds(Work(2, 500, 0)) == 2.5e-7
