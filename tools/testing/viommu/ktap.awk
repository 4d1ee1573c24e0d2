# SPDX-License-Identifier: GPL-2.0-only
#
# From the KTAP that KUnit prints at boot to a line per test case. The suites that
# are named in "want" must be there. A skip has failed unless MAY_SKIP, of the
# environment, matches it.

function result(ok, what)
{
	if (!ok)
		bad = 1
	printf "%s - %s: %s\n", ok ? "ok" : "not ok", name, what
}

BEGIN { may_skip = ENVIRON["MAY_SKIP"] }
/^1\.\.[0-9]+/ && suites == "" { suites = substr($1, 4) + 0; next }
/^    # Subtest: / { suite = $3; plan = ""; count = 0; lines = ""; next }
/^    1\.\.[0-9]+/ { plan = substr($1, 4) + 0; next }
/^    (not )?ok [0-9]+ / {
	ok = /^    ok/
	count++
	text = $0
	sub(/^ *(not )?ok [0-9]+ */, "", text)
	if (!/# *SKIP/)
		result(ok, suite ": " text)
	else if (may_skip != "" && suite ": " text ~ may_skip)
		printf "skip - %s: %s: %s\n", name, suite, text
	else
		result(0, "skipped: " suite ": " text)
	if (!ok)
		printf "%s", lines
	lines = ""
	next
}
/^(not )?ok [0-9]+ / {
	seen++
	ran[suite] = count
	if (plan != count)
		result(0, suite ": planned " plan + 0 ", ran " count)
	if (/^not/)
		bad = 1
	next
}
/^ +# / { if (length(lines) < 2000) lines = lines "# " $0 "\n" }

END {
	if (suites == "" || suites == 0)
		result(0, "KUnit ran no suite")
	else if (suites != seen)
		result(0, "KUnit planned " suites " suites, ran " seen + 0)
	n = split(want, names, " ")
	for (i = 1; i <= n; i++) {
		if (!ran[names[i]])
			result(0, names[i] ": KUnit ran no case of this suite")
	}
	exit bad
}
