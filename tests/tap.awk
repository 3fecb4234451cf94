# Count one TAP file; prints "passed failed skipped". A plan that was not kept and a run that ended badly (-v rc=N with no
# failure in it) count as one failure: a crash or a timeout is never a pass.
/^1\.\.[0-9]+/ { split($0, plan, /\.\.| /); planned += plan[2]; has_plan = 1 }
# cmocka writes a skipped test as "not ok N # SKIP".
/^(not )?ok .*# (SKIP|skip)/ { skipped++; next }
/^ok / { passed++ }
/^not ok / { failed++ }
END {
	seen = passed + failed + skipped
	if (!has_plan || seen < planned || (rc != 0 && failed == 0))
		failed++
	print passed + 0, failed + 0, skipped + 0
}
