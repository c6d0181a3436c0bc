"""A server whose start the driver holds back.

    gate.py VERSION_FILE STATE_DIRECTORY COMMAND [ARGS...]

Notes in STATE_DIRECTORY/starts which version it starts, waits while STATE_DIRECTORY/closed is there, and becomes
COMMAND with that version in TEST_VERSION. An edit of the server is another content of VERSION_FILE. Standard library only.
"""

import os
import sys
import time
from pathlib import Path

version, state = Path(sys.argv[1]).read_text(encoding="utf-8").strip(), Path(sys.argv[2])
with open(state / "starts", "a", encoding="utf-8") as starts:
    starts.write(f"{version}\n")
while (state / "closed").exists():
    time.sleep(0.02)
os.environ |= {"TEST_VERSION": version, "TEST_STATE": str(state)}
os.execvp(sys.argv[3], sys.argv[3:])
