// HookOptions: one kind of hook as the configuration knows it, and HookEntry: one entry of `prehooks` or `posthooks`. A hook's
// file declares its options, how they are read and what is made of them. Plain values; main thread.

import Settings

/// The options of a kind of hook.
protocol HookOptions: SettingsSection, Sendable, Equatable {
  /// The name in the file.
  static var name: String { get }
  /// What is asked about every announce, if anything is. Called at start, and after a reload with the options that are in
  /// force then; a thread behind the hook comes from `chain.service` and goes on.
  func make(_ chain: HookChain) throws -> (any AnnounceHook)?
}

extension HookOptions {
  fileprivate func isEqual(to other: any HookOptions) -> Bool { (other as? Self) == self }

  fileprivate func takingLive(from new: any HookOptions) -> any HookOptions {
    guard let new = new as? Self else { return self }
    var merged = self
    merged.takeLive(new)
    return merged
  }
}

/// One entry of `prehooks` or `posthooks`.
struct HookEntry: Sendable, Equatable {
  private(set) var options: any HookOptions

  init(_ options: any HookOptions) { self.options = options }

  var name: String { type(of: options).name }

  static func == (left: HookEntry, right: HookEntry) -> Bool { left.options.isEqual(to: right.options) }

  /// Reads a list of hooks; a hook that cannot be read is left out, with its problem reported.
  static func read(_ root: ConfigSection, _ key: String, kinds: [any HookOptions.Type]) -> [HookEntry] {
    let names = kinds.map { $0.name }
    return root.sections(key).compactMap { entry in
      defer { entry.end() }
      let name = entry.requiredString("name", expected: "one of \(names.joined(separator: ", "))") { _ in }
      let options = entry.section("options")
      guard let kind = kinds.first(where: { $0.name == name }) else {
        if !name.isEmpty { entry.refuse("name", "unknown hook \(name); \(advice(for: name, names))") }
        return nil
      }
      defer { options.end() }
      return HookEntry(kind.init(read: options))
    }
  }

  private static func advice(for name: String, _ names: [String]) -> String {
    if name == "jwt" { return "JSON web tokens are not supported here; use passkey approval" }
    if name == "fixed peer" || name == "fixed peers" { return "it is for Chihaya's own tests; remove it" }
    if let near = Suggestion.nearest(to: name, among: names) { return "did you mean \(near)?" }
    return "known: \(names.joined(separator: ", "))"
  }

  /// A second traffic push would credit every byte twice, and two of any other kind contradict each other.
  static func refuseRepeated(_ lists: [(key: String, hooks: [HookEntry])], _ root: ConfigSection) {
    var seen: Set<String> = []
    for (key, hooks) in lists {
      for hook in hooks where !seen.insert(hook.name).inserted {
        root.refuse(key, "the hook \(hook.name) is there twice; write it once, in prehooks or in posthooks")
      }
    }
  }

  /// The running list with what may change of a new one; nil when hooks came, went or moved, which needs a restart.
  static func merge(_ running: [HookEntry], _ new: [HookEntry]) -> [HookEntry]? {
    guard running.map(\.name) == new.map(\.name) else { return nil }
    return zip(running, new).map { HookEntry($0.options.takingLive(from: $1.options)) }
  }
}

extension ConfigSection {
  /// Chihaya refuses the two together too: a white list leaves nothing to a black one.
  func refuseBothLists(_ whitelist: some Collection, _ blacklist: some Collection) {
    if !whitelist.isEmpty && !blacklist.isEmpty { refuse("blacklist", "expected whitelist or blacklist, found both") }
  }
}
