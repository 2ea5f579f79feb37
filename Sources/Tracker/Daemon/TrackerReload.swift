// TrackerReload: what of a new configuration takes effect while the tracker runs (SIGHUP), and what must wait for a
// restart. Pure; called by TrackerDaemon on the main thread.

import Settings

/// The outcome of comparing the running configuration with a new one.
struct TrackerReload {
  /// The running configuration with everything from the new one that may change now.
  private(set) var merged: TrackerConfig
  /// Names of settings that change now, and of those that need a restart.
  private(set) var applied: [String] = []
  private(set) var needRestart: [String] = []

  init(running: TrackerConfig, new: TrackerConfig) {
    merged = running
    merged.takeLive(new)
    let prehooks = HookEntry.merge(running.prehooks, new.prehooks)
    let posthooks = HookEntry.merge(running.posthooks, new.posthooks)
    merged.prehooks = prehooks ?? running.prehooks
    merged.posthooks = posthooks ?? running.posthooks
    merged.effectiveSettings = new.effectiveSettings
    var fixed: Set<String> = []
    if prehooks == nil { fixed.insert("prehooks") }
    if posthooks == nil { fixed.insert("posthooks") }
    compare(running, new, fixed: fixed)
  }

  /// Names what differs. Below `fixed` nothing changes now; a section that came or went changes nothing either.
  private mutating func compare(_ running: TrackerConfig, _ new: TrackerConfig, fixed: Set<String>) {
    let old = Dictionary(running.effectiveSettings.map { ($0.path, $0) }) { first, _ in first }
    let wanted = Dictionary(new.effectiveSettings.map { ($0.path, $0) }) { first, _ in first }
    for path in Set(old.keys).union(wanted.keys).sorted(by: { $0.lexicographicallyPrecedes($1) })
    where old[path]?.shown != wanted[path]?.shown {
      let isLive = old[path] != nil && wanted[path]?.isLive == true && !fixed.contains(path[0])
      if isLive { applied.append(EffectiveSetting.name(path)) } else { needRestart.append(EffectiveSetting.name(path)) }
    }
    // Secrets and the contents of files are not shown, and still may have changed.
    if needRestart.isEmpty && (merged.prehooks != new.prehooks || merged.posthooks != new.posthooks) {
      needRestart.append("hooks")
    }
    let hooksChanged = merged.prehooks != running.prehooks || merged.posthooks != running.posthooks
    if hooksChanged && !applied.contains(where: { $0.contains("hooks[") }) { applied.append("lists from files") }
  }
}
