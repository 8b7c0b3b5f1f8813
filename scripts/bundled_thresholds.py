"""Write mlret/memory/maintenance/thresholds.json: when two texts are duplicates to the encoder that comes with mlret.

    python scripts/bundled_thresholds.py

To be run again whenever `pack_encoder.py` was, or the sample or the guards changed; a test tells when.
"""

from __future__ import annotations

import json

from mlret.encoders.loading import load_encoder
from mlret.memory.maintenance.thresholds import BUNDLED, calibrate


def main() -> None:
    """Write the file."""
    thresholds = calibrate(load_encoder()).to_dict()
    BUNDLED.write_text(json.dumps([thresholds], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {BUNDLED}: {thresholds}")


if __name__ == "__main__":
    main()
