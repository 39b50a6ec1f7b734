"""Numbers for paired counts, by other programs: paired.json.

    pip install statsmodels==0.15.0 scipy==1.17.1
    python paired.py > paired.json

McNemar's exact test by statsmodels and by scipy's binomial test, which must agree; Holm's correction by statsmodels. The interval of Newcombe
1998, method 10, from statsmodels' Wilson intervals; statsmodels 0.15 does not have it. Two tables have published intervals, which this
program checks itself by:
  59 6 16 80   -0.1186 to -0.0046   R package contingencytables, tests/testthat/test-ch8.R
  14 5 0 22     0.011 to 0.226      Altman, Machin, Bryant, Gardner 2000, "Statistics with confidence", table 6.2
"""
import json
import math

import numpy as np
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


def interval(a, b, c, d):
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    l1, u1 = proportion_confint(a + b, n, method="wilson")
    l2, u2 = proportion_confint(a + c, n, method="wilson")
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    cross = a * d - b * c
    if cross > 0:
        cross = max(cross - n / 2, 0)
    phi = cross / math.sqrt(margins) if margins else 0
    lo = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    hi = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return [p1 - p2 - lo, p1 - p2 + hi]


tables = [
    (59, 6, 16, 80), (14, 5, 0, 22), (20, 12, 2, 16), (1, 1, 7, 12),  # the last: Bentur et al. 2009
    (200, 0, 0, 0), (0, 0, 0, 200), (0, 200, 0, 0), (0, 100, 100, 0), (983, 0, 1, 16), (180, 3, 7, 10), (5, 30, 30, 935),
    (400, 91, 140, 369), (7000, 480, 390, 2130), (0, 0, 1, 0), (3, 1, 1, 0), (0, 700, 300, 0),
]
want = {(59, 6, 16, 80): (-0.1186, -0.0046, 4), (14, 5, 0, 22): (0.011, 0.226, 3)}
out = []
for t in tables:
    a, b, c, d = t
    p = mcnemar([[a, b], [c, d]], exact=True).pvalue
    other = binomtest(b, b + c).pvalue if b + c else 1.0
    p = other if b + c == 0 else p
    assert abs(p - other) <= 1e-9 * other, (t, p, other)
    lo, hi = interval(*t)
    if t in want:
        x, y, digits = want[t]
        assert (round(lo, digits), round(hi, digits)) == (x, y), (t, lo, hi)
    out.append({"table": t, "mcnemar": float(p), "interval": [float(lo), float(hi)]})

rng = np.random.default_rng(1)
holm = []
for p in [[0.01, 0.04, 0.03], [0.5], [0.02, 0.02, 0.02, 0.9], list(rng.uniform(0, 0.2, 40).round(6)), [1.0, 1.0, 1e-9]]:
    holm.append({"p": [float(v) for v in p], "corrected": [float(v) for v in multipletests(p, method="holm")[1]]})
print(json.dumps({"tables": out, "holm": holm}, indent=1))
