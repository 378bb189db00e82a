"""`python -m sleepengine`."""

from sleepengine.command_line.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
