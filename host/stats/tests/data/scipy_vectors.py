"""Made tests/data/scipy_vectors.json once: python scipy_vectors.py > scipy_vectors.json (numpy, scipy)."""

import json
import sys

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(20260131)
out = {"scipy": scipy.__version__, "numpy": np.__version__, "sign_flip": [], "bca": [], "unpaired": []}

for n in (3, 5, 6, 8, 11, 13):
    for shift in (0.0, 0.04):
        d = np.round(rng.normal(shift, 0.05, n), 6)
        flip = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
        wilcoxon = stats.wilcoxon(d, method="exact")
        out["sign_flip"].append({"differences": d.tolist(), "p": flip.pvalue, "wilcoxon_p": wilcoxon.pvalue})

for n, draw in ((6, rng.normal), (8, rng.normal), (12, rng.lognormal), (30, rng.lognormal)):
    x = np.round(draw(3.0, 0.4, n), 6)
    b = stats.bootstrap((x,), np.mean, method="BCa", n_resamples=200_000, vectorized=True, rng=rng)
    t = stats.t.interval(0.95, n - 1, loc=x.mean(), scale=stats.sem(x))
    out["bca"].append(
        {
            "values": x.tolist(),
            "low": b.confidence_interval.low,
            "high": b.confidence_interval.high,
            "t_low": t[0],
            "t_high": t[1],
        }
    )

for n, m, shift in ((3, 4, 0.0), (5, 6, 0.1), (8, 8, 0.05)):
    a, b = np.round(rng.normal(0, 0.05, n), 6), np.round(rng.normal(shift, 0.08, m), 6)
    p = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        vectorized=True,
        permutation_type="independent",
        n_resamples=np.inf,
    )
    w = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    out["unpaired"].append(
        {"first": a.tolist(), "second": b.tolist(), "permutation_p": p.pvalue, "welch_low": w.low, "welch_high": w.high}
    )

json.dump(out, sys.stdout, indent=1)
