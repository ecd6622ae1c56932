"""The programs: flags, one library call, an exit code."""
