# SPDX-License-Identifier: GPL-2.0-only
#
# From what the machine's test port carried to a line per result. A program
# that prints no plan, fewer results than planned, or no end, has failed. So has a
# skip, unless MAY_SKIP, of the environment, matches it.

function result(ok, what)
{
	if (!ok)
		bad = 1
	printf "%s - %s: %s\n", ok ? "ok" : "not ok", name, what
}

function omit(what)
{
	if (may_skip != "" && what ~ may_skip)
		printf "skip - %s: %s\n", name, what
	else
		result(0, "skipped: " what)
}

function finish(status)
{
	if (plan == "")
		result(0, prog ": printed no plan" (status != 0 ? ", exit status " status : ""))
	else if (plan != count)
		result(0, prog ": planned " plan ", ran " count)
	else if (status != 0 && !failed && !(status == 4 && skipped == count))
		result(0, prog ": exit status " status)
	prog = ""
}

BEGIN { may_skip = ENVIRON["MAY_SKIP"] }
/^@@ begin / {
	prog = $3
	plan = ""
	count = failed = skipped = 0
	next
}
/^@@ end / {
	if (raw) {
		if ($4 != 0)
			result(0, $3 ": exit status " $4)
		prog = ""
	} else {
		finish($4)
	}
	next
}
/^@@ done/ { done = 1; next }
raw || prog == "" { next }
/^1\.\.[0-9]+/ {
	plan = substr($1, 4) + 0
	if (/# SKIP/ && plan == 0) {
		sub(/^1\.\.0 *# *SKIP */, "")
		omit(prog ": " $0)
		skipped = 0
	}
	next
}
/^(not )?ok [0-9]+/ {
	ok = /^ok/
	skip = /# *SKIP/
	count++
	text = $0
	sub(/^(not )?ok [0-9]+ *(- *)?/, "", text)
	if (skip) {
		skipped++
		omit(prog ": " text)
	} else {
		failed += !ok
		result(ok, prog ": " text)
	}
	if (!ok && lines)
		printf "%s", lines
	lines = ""
	nlines = 0
	next
}
# What comes before a failure says why.
/^#/ && !/^# +(RUN|OK)/ {
	if (nlines++ < 20)
		lines = lines "# " $0 "\n"
}

END {
	if (prog != "")
		result(0, prog ": the machine stopped in it")
	else if (!done)
		result(0, "the machine stopped before the end of the run")
	exit bad
}
