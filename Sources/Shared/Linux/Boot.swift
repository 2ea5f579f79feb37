// Boot: which boot of the machine this is: what tells a process whether CLOCK_BOOTTIME of another one is its own. Read
// once.

import Glibc

public enum Boot {
  /// The name of this boot, and of the time namespace, whose clocks are set when it is made; nil when nobody says it.
  /// systemd gives it to a unit that sees no /proc/sys (`Environment=BOOT_ID=%b`).
  public static let name: String? = {
    let text = line(of: "/proc/sys/kernel/random/boot_id") ?? getenv("BOOT_ID").map { String(cString: $0) } ?? ""
    let digits = text.lowercased().filter(\.isHexDigit)
    guard digits.count == 32 else { return nil }
    var namespace = stat()
    guard stat("/proc/self/ns/time", &namespace) == 0 else { return digits }
    return "\(digits) \(namespace.st_ino)"
  }()

  private static func line(of path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    var bytes = [CChar](repeating: 0, count: 80)
    return fgets(&bytes, Int32(bytes.count), file).map { String(cString: $0) }
  }
}
