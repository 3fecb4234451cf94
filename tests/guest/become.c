/* become USER: as vmrun's init does it, then what "id" would say, a folder's name, and a line by way of /proc/self/fd/1 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/vmrun/guest/user.h"

int main(int argc, char **argv)
{
	gid_t group[64];
	int n;

	if (argc != 2 || user_become(argv[1], true) < 0)
		return 126;
	n = getgroups(64, group);
	printf("%u %u", (unsigned)getuid(), (unsigned)getgid());
	for (int i = 0; i < n; i++)
		printf(" %u", (unsigned)group[i]);
	printf(" %s\n", getenv("HOME") ? getenv("HOME") : "none");
	return setuid(0) == 0 || setgid(0) == 0; /* there is no way back */
}
