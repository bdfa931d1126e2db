"""One child process per run, and runs without a trainer."""
