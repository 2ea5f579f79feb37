// Trouble: what has gone wrong at a site so far, as far as it decides what may be missing there by the documentation. A value.

struct Trouble {
  /// What the worst of it may cost.
  private(set) var worst = LossClass.lossless
  /// Redis has lost something it had.
  var hasForgotten = false
  /// All it had: what a spool brings back says nothing of the generations that it is of.
  var hasFlushed = false
  /// Its second may be the one before or behind.
  var hasSmallClocks = false
  /// What an entry says of its time is not the time.
  var hasWrongClocks = false
  /// Redis has lost something, and the process that sent it is dead: nobody can know.
  var hasLostWitnesses = false
  /// When the last fault was made.
  var lastFault = World.startNanoseconds
  /// When a tracker last lost its memory: what Redis forgets from before then, it cannot give back.
  var lastAmnesia = World.startNanoseconds

  var hasAmnesia: Bool { lastAmnesia > World.startNanoseconds }

  mutating func note(_ loss: LossClass) { worst = max(worst, loss) }
}
