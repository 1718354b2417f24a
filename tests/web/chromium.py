"""Where the browser is that tests drive."""

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"no Chromium: none of {', '.join(NAMES)} is on the PATH, and CRLHF_CHROMIUM names none"


def find_chromium():
    """Path of the browser, or None; `CRLHF_CHROMIUM` comes before what is on the PATH."""
    named = os.environ.get("CRLHF_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)
