"""What differs between what a client saw directly and what it saw through linegate, and whether the difference is known.

known.txt: `client | regular expression | reason`, one a line; the client `*` is every client, `plain:NAME` or `tls:NAME` only that side.
A client counts as known only if each of its differing lines matches one of its expressions; a `-` or `+` leads the line it matches.
"""

import collections
import difflib
import re
import sys

SHOWN = 24  # differing lines of a client that is not known


class Known:
    def __init__(self, path):
        self.table = []
        self.used = collections.Counter()
        for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = [part.strip() for part in line.split(" | ", 2)]
            if len(parts) != 3 or not all(parts):
                sys.exit(f"{path}:{number}: client | regular expression | reason")
            self.table.append((parts[0], re.compile(parts[1]), parts[2]))

    def reason(self, side, name, line):
        for who, pattern, reason in self.table:
            if who in ("*", name, f"{side}:{name}") and pattern.search(line):
                return reason
        return None


def differing(direct, via):
    """The lines that differ, with the last equal line before each group."""
    left, right = (data.decode("utf-8", "backslashreplace").split("\n") for data in (direct, via))
    for group in difflib.SequenceMatcher(None, left, right, autojunk=False).get_grouped_opcodes(1):
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from ((" ", i + 1, line) for i, line in enumerate(left[i1:i2], i1))
            else:
                yield from (("-", i + 1, line) for i, line in enumerate(left[i1:i2], i1))
                yield from (("+", j + 1, line) for j, line in enumerate(right[j1:j2], j1))


class Totals:
    def __init__(self):
        self.counts = collections.Counter()

    def skip(self, name, why):
        self.counts["skipped"] += 1
        print(f"  {name:16} skipped: {why}", flush=True)

    def judge(self, name, outputs, wrong, known, seconds):
        sides = list(outputs)
        direct = outputs[sides[0]]
        lines = direct.count(b"\n")
        # Each side is measured by whether its client came to the end of its work at all.
        verdict, report = "identical", []
        if b"\nended with " in direct[-40:] or direct.endswith(b"hangs\n") or not direct:
            verdict = "DIFFERENT"
            report.append("      the direct run itself failed: " + direct[-300:].decode("utf-8", "replace"))
        for side in sides[1:]:
            if outputs[side] == direct:
                continue
            reasons, strange = collections.Counter(), []
            for sign, number, line in differing(direct, outputs[side]):
                if sign == " ":
                    continue
                reason = known.reason(side, name, sign + line)
                if reason:
                    reasons[reason] += 1
                else:
                    strange.append((sign, number, line))
            if strange:
                verdict = "DIFFERENT"
                report.append(f"      {side}: {len(strange)} lines unexplained")
                report += [f"      {number:5} {sign}{line[:220]}" for sign, number, line in strange[:SHOWN]]
                if len(strange) > SHOWN:
                    report.append(f"      … {len(strange) - SHOWN} more")
            elif verdict == "identical":
                verdict = "known"
            report += [f"      {side}: known ({count} lines): {reason}" for reason, count in reasons.items()]
        if wrong:
            verdict = "DIFFERENT"
            report += [f"      {line}" for line in wrong]
        self.counts[verdict] += 1
        print(f"  {name:16} {verdict:10} {lines:6} lines  {seconds} s", flush=True)
        for line in report:
            print(line, flush=True)

    def end(self):
        counts = self.counts
        print(f"clients: {counts['identical']} identical, {counts['known']} different as known, {counts['DIFFERENT']} different, {counts['skipped']} skipped")
        return 1 if counts["DIFFERENT"] or not counts["identical"] + counts["known"] else 0
