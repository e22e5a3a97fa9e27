"""What must no longer be kept: who asks for it, what remembers it, and how it leaves every layer of the lake.

`tombstones` remember, by keyed hashes alone, what was removed; `lines` apply them to one stored line, `purge`
to objects of an hour, which `listing` finds; `misplaced` tells what lies under another hour; `removal`
carries a request through the hours, and records what was done.
"""
