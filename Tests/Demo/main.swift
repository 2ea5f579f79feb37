// `make demo`: the whole path on a machine of one's own. See Demo.swift.

import Glibc

exit(await Demo.run(keep: CommandLine.arguments.contains("--keep")))
