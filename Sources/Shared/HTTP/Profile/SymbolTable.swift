// SymbolTable: the names of this program's functions by address, from its own ELF file (elf(5)). Read when asked for;
// admin thread.

import Glibc

/// Functions sorted by where they are loaded.
struct SymbolTable {
  private var names: [(start: UInt64, size: UInt64, name: String)] = []

  /// The table of /proc/self/exe, nil when it has none (a stripped binary).
  static func ofThisProgram() -> SymbolTable? {
    guard let file = fopen("/proc/self/exe", "re") else { return nil }
    defer { fclose(file) }
    return SymbolTable(file, loadedAt: loadAddress())
  }

  /// The function that contains an address, as the linker knows it (`swift demangle` reads it).
  func name(at address: UInt64) -> String? {
    var low = 0
    var high = names.count
    while low < high {
      let middle = (low + high) / 2
      if names[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return nil }
    let found = names[low - 1]
    return address < found.start + max(found.size, 1) ? found.name : nil
  }

  /// Where the first mapping of the program is: what an address in a position-independent file is relative to.
  private static func loadAddress() -> UInt64 {
    guard let maps = fopen("/proc/self/maps", "re") else { return 0 }
    defer { fclose(maps) }
    var line = [CChar](repeating: 0, count: 512)
    guard fgets(&line, Int32(line.count), maps) != nil else { return 0 }
    let text = line.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return UInt64(text.prefix { $0 != "-" }, radix: 16) ?? 0
  }

  /// Sections of type SHT_SYMTAB (2), functions (STT_FUNC, 2). Offsets of the 64-bit ELF structures:
  ///
  /// | structure | fields |
  /// |---|---|
  /// | header | 16 type 2, 40 section offset 8, 58 section size 2, 60 section count 2 |
  /// | section | 4 type 4, 24 offset 8, 32 size 8, 40 link 4 |
  /// | symbol (24) | 0 name 4, 4 info 1, 8 value 8, 16 size 8 |
  private init?(_ file: UnsafeMutablePointer<FILE>, loadedAt base: UInt64) {
    guard let header = Self.read(file, 0, 64), header.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2]) else { return nil }
    let isRelocated = Self.number(header, 16, UInt16.self) == 3
    let sectionBytes = Int(Self.number(header, 58, UInt16.self))
    let count = Int(Self.number(header, 60, UInt16.self))
    guard sectionBytes >= 64,
      let sections = Self.read(file, Int(Self.number(header, 40, UInt64.self)), sectionBytes * count)
    else { return nil }
    func contents(_ index: Int) -> [UInt8]? {
      guard index < count else { return nil }
      let at = index * sectionBytes
      return Self.read(
        file, Int(Self.number(sections, at + 24, UInt64.self)), Int(Self.number(sections, at + 32, UInt64.self)))
    }
    for index in 0..<count where Self.number(sections, index * sectionBytes + 4, UInt32.self) == 2 {
      let link = Int(Self.number(sections, index * sectionBytes + 40, UInt32.self))
      guard let symbols = contents(index), let texts = contents(link) else { continue }
      for at in stride(from: 0, through: symbols.count - 24, by: 24) where symbols[at + 4] & 0xf == 2 {
        let value = Self.number(symbols, at + 8, UInt64.self)
        let name = Int(Self.number(symbols, at, UInt32.self))
        guard value != 0, name < texts.count else { continue }
        let text = String(decoding: texts[name...].prefix { $0 != 0 }, as: UTF8.self)
        names.append((value &+ (isRelocated ? base : 0), Self.number(symbols, at + 16, UInt64.self), text))
      }
    }
    if names.isEmpty { return nil }
    names.sort { $0.start < $1.start }
  }

  private static func read(_ file: UnsafeMutablePointer<FILE>, _ offset: Int, _ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    guard fseek(file, offset, SEEK_SET) == 0, fread(&bytes, 1, count, file) == count else { return nil }
    return bytes
  }

  private static func number<Number: FixedWidthInteger>(_ bytes: [UInt8], _ at: Int, _ type: Number.Type) -> Number {
    bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: type) }
  }
}
