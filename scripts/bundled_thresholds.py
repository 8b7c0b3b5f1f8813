"""Write mlret/memory/maintenance/thresholds.json: when two texts are duplicates for the bundled encoder.

    python scripts/bundled_thresholds.py

Run it again after `pack_encoder.py`, and after changes to the sample or to the guards; a test fails if it is needed.
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
