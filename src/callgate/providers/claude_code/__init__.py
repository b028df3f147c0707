"""The dialect of the Claude Code command."""
