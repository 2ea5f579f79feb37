// The program `traffic-consumer`. Everything happens in functions: what is called from here would be on the main actor.

import Glibc

exit(ConsumerCommand.main(Array(CommandLine.arguments.dropFirst())))
