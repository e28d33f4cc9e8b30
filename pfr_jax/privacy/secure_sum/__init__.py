"""A sum of vectors of which the server sees only the sum: secure aggregation.

After Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (CCS
2017), section 4 and figure 4, against servers that are honest but curious: no signatures, and so
no consistency check. ``shamir`` shares secrets, ``keys`` agrees on them, ``masks`` makes vectors
of them, ``messages`` is all that travels, ``client`` and ``server`` are the two parties,
``session`` lets them talk and weighs it, ``payload`` turns the federation's payloads into vectors.
"""
