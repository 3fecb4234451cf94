# For the checks of this folder: programs and verbs as --help tells them.
programs() { find cmd -mindepth 2 -maxdepth 2 -name main.c -printf '%h\n' | sed 's|^cmd/||' | sort; }
verbs() { # PROGRAM
	"$BUILD/bin/$1" --help | awk '/^Verbs:/ { on = 1; next } /^[^ ]|^$/ { on = 0 } on && /^  [a-z]/ { print $1 }'
}
options() { # PROGRAM [VERB] - long options, without dashes
	"$BUILD/bin/$1" ${2:+"$2"} --help | sed -nE 's/^  (-., |    )--([a-z0-9-]+).*/\2/p' | sort -u
}
