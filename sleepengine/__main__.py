"""`python -m sleepengine`."""

from sleepengine.command_line.entry import entry

if __name__ == "__main__":
    entry()
