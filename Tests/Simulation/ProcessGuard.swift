// ProcessGuard: a shell that outlives us for a moment. When a test process or the demo dies, by whatever signal, it
// kills the children that are left and removes their directories. One per process; any thread.

import CLinux
import Glibc
import Linux
import Synchronization

/// Knows every running child and temporary directory of this process.
final class ProcessGuard: Sendable {
  static let shared = ProcessGuard()

  /// Reads `+pid`, `-pid`, `<directory` (to be removed), `>directory` (gone); at end of input it cleans up. Signals of
  /// the terminal are ignored: ^C ends us, which ends its input.
  private static let script = """
    trap '' INT TERM HUP QUIT
    pids=' '; dirs=''
    while read -r line; do
      rest=${line#?}
      case $line in
        +*) pids="$pids$rest " ;;
        -*) case $pids in *" $rest "*) pids="${pids%%" $rest "*} ${pids#*" $rest "}" ;; esac ;;
        '<'*) dirs="$dirs$rest
    " ;;
      esac
    done
    for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
    printf '%s' "$dirs" | while read -r dir; do rm -rf "$dir"; done
    """

  private let pipe: Int32

  private init() {
    var ends: [Int32] = [-1, -1]
    // A socket pair because SOCK_CLOEXEC is set with it: a child that inherited the writing end would keep it open.
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      fatalError("socketpair: \(String(cString: strerror(errno)))")
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO)
    // What waits for the end of our output (a pipe to `tail`) must not wait for the guard.
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    defer { posix_spawn_file_actions_destroy(&actions) }
    do {
      _ = try ChildProcess.spawn(["/bin/sh", "-c", Self.script], environment: [:], actions: &actions)
    } catch {
      fatalError("the process guard: \(error)")
    }
    close(ends[1])
    pipe = ends[0]
  }

  /// Where a child has our pipe until it is the program; above what is handed over to any.
  private static let childPipe: Int32 = 9

  /// The command line of a child that tells the guard of itself before it becomes the program: killed after the start and
  /// before we could tell, we would leave it behind. The guard goes by the end of the pipe, which the child still holds then.
  func watched(_ arguments: [String], _ actions: inout posix_spawn_file_actions_t) -> [String] {
    posix_spawn_file_actions_adddup2(&actions, pipe, Self.childPipe)
    let script = "echo +$$ >&\(Self.childPipe); exec \(Self.childPipe)>&-; exec \"$@\""
    return ["/bin/sh", "-c", script, "sh"] + arguments
  }
  func release(process: pid_t) { say("-\(process)") }
  func watch(directory: String) { say("<\(directory)") }
  /// Removing a directory that is gone does no harm, and its random name is not given twice.
  func release(directory: String) { say(">\(directory)") }

  private func say(_ line: String) {
    var line = line + "\n"
    line.withUTF8 { bytes in _ = retryingInterrupts { send(pipe, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
    }
  }
}
