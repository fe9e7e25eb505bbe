"""Expected values of the features that go by closed bars, by other libraries, for bars made by an integer formula.

    python3 -m venv /tmp/oracle && /tmp/oracle/bin/pip install -r bench/features/requirements.txt
    /tmp/oracle/bin/python bench/features/oracle.py > core/tests/data/features_oracle.csv

core/tests/features_oracle.rs makes the same bars and compares. One row a bar, one column a value; an empty cell is a
value that the library does not have yet. Each column is computed by the library whose name stands above it, with its
own function or, where it has none, from its rolling and exponential means.
"""

import sys

import numpy as np
import pandas as pd
import talib

BARS = 300
# 2024-08-08 12:00 UTC, in seconds; all bars lie in one session.
START_S = 19_943 * 86_400 + 43_200
PRICE_ONE = 1_000_000_000


def bars():
    """Open, high, low, close in 1e-9; bought and sold sizes in 1e-2: a 64-bit linear congruential generator, upper bits."""
    state = 20_240_808

    def draw(n):
        nonlocal state
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (state >> 33) % n

    rows, close = [], 100 * PRICE_ONE
    for i in range(BARS):
        # A step of up to 0.25 either way, with a drift that turns every hundred bars.
        drift = 20_000_000 if i // 100 % 2 == 0 else -20_000_000
        gap = (draw(101) - 50) * 1_000_000
        opened = close + gap
        close = opened + drift + (draw(501) - 250) * 1_000_000
        high = max(opened, close) + draw(150) * 1_000_000
        low = min(opened, close) - draw(150) * 1_000_000
        bought, sold = 1 + draw(5_000), 1 + draw(5_000)
        rows.append((opened, high, low, close, bought, sold))
    return rows


def main():
    table = np.array(bars(), dtype=np.int64)
    o, h, l, c = (table[:, k] / PRICE_ONE for k in range(4))
    bought, sold = table[:, 4] / 100, table[:, 5] / 100
    v = bought + sold
    s = {name: pd.Series(x) for name, x in (("o", o), ("h", h), ("l", l), ("c", c), ("v", v), ("flow", bought - sold))}
    # What a bar of trades at open, high, low and close turns over: a quarter of its size each.
    turnover = v * (o + h + l + c) / 4
    r = np.log(s["c"] / s["c"].shift())
    ema = lambda x, n: x.ewm(span=n, adjust=False).mean()
    ready = lambda x, n: x.where(np.arange(len(x)) >= n - 1)

    upper, _, lower = talib.BBANDS(c, 20, 2, 2, talib.MA_Type.SMA)
    k, d = talib.STOCHF(h, l, c, 14, 3, talib.MA_Type.SMA)
    # STOCHF begins both where %D is ready.
    k = (c - talib.MIN(l, 14)) / (talib.MAX(h, 14) - talib.MIN(l, 14)) * 100
    macd = ema(s["c"], 12) - ema(s["c"], 26)
    signal = ema(macd, 9)
    true_range = pd.Series(talib.TRANGE(h, l, c))
    # Wilder's smoothing, begun with the mean of the first ten, which is TA-Lib's ATR.
    keltner, atr10 = ready(ema(s["c"], 20), 20), pd.Series(talib.ATR(h, l, c, 10))
    range2 = np.log(s["h"] / s["l"]) ** 2
    body2 = np.log(s["c"] / s["o"]) ** 2
    vwap = np.cumsum(turnover) / np.cumsum(v)
    dp = s["c"].diff()

    columns = [
        ("pandas", "return_bar", r),
        ("pandas", "return_session", np.log(s["c"] / o[0])),
        ("pandas", "volume_session", s["v"].cumsum()),
        ("pandas", "vwap_session", pd.Series(vwap)),
        ("pandas", "ema_fast", ready(ema(s["c"], 12), 12)),
        ("pandas", "ema_slow", ready(ema(s["c"], 26), 26)),
        ("pandas", "realised_volatility", ready(np.sqrt((r**2).cumsum()), 21)),
        ("pandas", "ewma_volatility", ready(np.sqrt((r**2).ewm(alpha=0.06, adjust=False).mean()), 34)),
        ("talib", "typical_price", talib.TYPPRICE(h, l, c)),
        ("pandas", "relative_volume", s["v"] / s["v"].rolling(20).mean()),
        ("talib", "on_balance_volume", talib.OBV(c, v)),
        ("pandas", "vwap_deviation", (s["c"] / vwap - 1) * 1e4),
        ("talib", "atr", talib.ATR(h, l, c, 14)),
        ("pandas", "parkinson_volatility", np.sqrt(range2.rolling(20).mean() / (4 * np.log(2)))),
        (
            "pandas",
            "garman_klass_volatility",
            np.sqrt((range2 / 2 - (2 * np.log(2) - 1) * body2).rolling(20).mean()),
        ),
        ("talib", "rsi", talib.RSI(c, 14)),
        ("pandas", "macd", ready(macd, 34)),
        ("pandas", "macd_signal", ready(signal, 34)),
        ("pandas", "macd_histogram", ready(macd - signal, 34)),
        ("talib", "roc", talib.ROC(c, 10)),
        ("talib", "stochastic_k", k),
        ("talib", "stochastic_d", d),
        ("talib", "williams_r", talib.WILLR(h, l, c, 14)),
        ("talib", "cci", talib.CCI(h, l, c, 20)),
        ("talib", "sma", talib.SMA(c, 20)),
        ("talib", "adx", talib.ADX(h, l, c, 14)),
        ("talib", "plus_di", talib.PLUS_DI(h, l, c, 14)),
        ("talib", "minus_di", talib.MINUS_DI(h, l, c, 14)),
        ("talib", "regression_slope", talib.LINEARREG_SLOPE(c, 20)),
        ("talib", "bollinger_upper", upper),
        ("talib", "bollinger_lower", lower),
        ("talib", "bollinger_percent_b", (c - lower) / (upper - lower)),
        ("talib", "bollinger_bandwidth", (upper - lower) / talib.SMA(c, 20)),
        ("pandas, talib", "keltner_upper", keltner + 2 * atr10),
        ("pandas, talib", "keltner_lower", keltner - 2 * atr10),
        ("talib", "donchian_upper", talib.MAX(h, 20)),
        ("talib", "donchian_lower", talib.MIN(l, 20)),
        ("pandas", "turnover_session", pd.Series(turnover).cumsum()),
        ("pandas", "amihud_illiquidity", (r.abs() / turnover * 1e6).rolling(20).mean()),
        ("pandas", "kyle_lambda", (dp * s["flow"]).rolling(20).sum() / (s["flow"] ** 2).where(dp.notna()).rolling(20).sum()),
    ]
    out = sys.stdout
    out.write(f"# talib {talib.__version__} (TA-Lib {talib.__ta_version__.decode().split()[0]}), ")
    out.write(f"pandas {pd.__version__}, numpy {np.__version__}\n")
    out.write("# " + ";".join(by for by, _, _ in columns) + "\n")
    out.write(",".join(name for _, name, _ in columns) + "\n")
    for i in range(BARS):
        cells = (np.asarray(x)[i] for _, _, x in columns)
        out.write(",".join("" if np.isnan(x) else f"{x:.13g}" for x in cells) + "\n")


if __name__ == "__main__":
    main()
