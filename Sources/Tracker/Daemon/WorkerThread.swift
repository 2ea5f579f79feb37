// WorkerThread: starts and ends the thread of one worker. Used by TrackerDaemon on the main thread.

import Linux

/// A running worker.
final class WorkerThread {
  private let mailbox: EventLoopMailbox
  private var thread: NamedThread?

  /// `failed` is called on the worker's thread when it cannot start.
  init(_ plan: WorkerPlan, failed: @escaping @Sendable (SystemError) -> Void) throws(SystemError) {
    mailbox = plan.mailbox
    thread = try NamedThread(name: "worker-\(plan.number)") { Self.run(plan, failed) }
  }

  private static func run(_ plan: WorkerPlan, _ failed: @Sendable (SystemError) -> Void) {
    do {
      let loop = try EventLoop(mailbox: plan.mailbox)
      let worker = try Worker(plan, loop: loop)
      loop.context = worker
      loop.run()
      worker.finish()
    } catch {
      failed(error)
    }
  }

  /// Hands the rules of a reload to the worker.
  func update(
    _ rules: PipelineRules, _ udpRules: UDPRules?, _ httpRules: HTTPRules?, batchDelayNanoseconds: UInt64
  ) {
    mailbox.post { loop in
      (loop.context as? Worker)?.update(rules, udpRules, httpRules)
      loop.moderateWakes(delayNanoseconds: batchDelayNanoseconds)
    }
  }

  /// Lets the worker finish what is in flight, and joins it.
  func stop() {
    mailbox.post { loop in (loop.context as? Worker)?.drain(loop) }
    let running = thread.take()
    running?.join()
  }
}
