# make install and uninstall; a build that is up to date does nothing
# bats file_tags=release

load common

setup() {
	common_setup
	BUILD_DIR=${VMKIT_BIN%/bin}
	[ -f "$BUILD_DIR/flags" ] || skip "programs were not built by this Makefile"
	# The flags of this build, as make was told them: another SAN or CC would rebuild everything.
	make_args=(--no-print-directory -C "$ROOT" BUILD="$BUILD_DIR")
	! grep -q fsanitize "$BUILD_DIR/flags" || skip "once, with the release build"
	[ "$(head -n 1 "$BUILD_DIR/flags")" = cc ] || make_args+=(CC="$(head -n 1 "$BUILD_DIR/flags")")
	! sed -n 2p "$BUILD_DIR/flags" | grep -qw -- -Werror || make_args+=(WERROR_ON=1)
	unset MAKEFLAGS MAKELEVEL
}

@test "install puts programs, man pages, completions and documents below DESTDIR and PREFIX" {
	run make "${make_args[@]}" install DESTDIR="$PWD/root" PREFIX=/opt/vmkit
	assert_success
	local p
	for p in vmimg vmbackup; do
		assert_file_executable "root/opt/vmkit/bin/$p"
		assert_file_not_empty "root/opt/vmkit/share/man/man1/$p.1"
		assert_file_not_empty "root/opt/vmkit/share/bash-completion/completions/$p"
		assert_file_not_empty "root/opt/vmkit/share/zsh/site-functions/_$p"
		assert_file_not_empty "root/opt/vmkit/share/fish/vendor_completions.d/$p.fish"
	done
	assert_file_exist root/opt/vmkit/share/doc/vmkit/LICENSE
	assert_file_not_empty root/opt/vmkit/share/doc/vmkit/docs/backup-profile.conf
	assert_file_not_empty root/opt/vmkit/lib/systemd/system/vmbackup@.timer
	grep -qx 'ExecStart=/opt/vmkit/bin/vmbackup run %i --wait=4h' root/opt/vmkit/lib/systemd/system/vmbackup@.service
	jq -e .panels root/opt/vmkit/share/doc/vmkit/docs/grafana-dashboard.json >/dev/null
	grep -qx 'ExecStart=/opt/vmkit/bin/vmctl start --autostart' root/opt/vmkit/lib/systemd/system/vmctl-autostart.service
	grep -qx 'ExecStart=/opt/vmkit/bin/vmctl -c builtin start --autostart' root/opt/vmkit/lib/systemd/user/vmctl-autostart.service
	grep -qx 'ExecStart=/opt/vmkit/bin/vmctl watch' root/opt/vmkit/lib/systemd/system/vmctl-watch.service
	run root/opt/vmkit/bin/vmimg --version
	assert_success
	run find root -not -path 'root/opt*' -not -path root
	assert_output ""
}

@test "uninstall leaves no file behind" {
	make "${make_args[@]}" install DESTDIR="$PWD/root" PREFIX=/usr
	assert_file_exist root/usr/share/zsh/vendor-completions/_vmimg
	make "${make_args[@]}" uninstall DESTDIR="$PWD/root" PREFIX=/usr
	run find root -type f
	assert_output ""
}

@test "a second make has nothing to do" {
	run make "${make_args[@]}" all
	assert_success
	refute_output --regexp '(CC|AR|LD) '
}
