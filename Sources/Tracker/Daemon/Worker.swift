// Worker: one thread that owns its sockets, its loop and its buffers, and answers without leaving the thread. Made by
// TrackerDaemon; the objects in it live and die on that thread.

import CLinux
import Glibc
import Linux

/// What a worker thread is given.
struct WorkerPlan: Sendable {
  var number: Int
  var mailbox: EventLoopMailbox
  var udpSockets: [UDPSocket]
  var udpRules: UDPRules?
  var httpListeners: [Listener]
  var httpRules: HTTPRules?
  var store: SwarmStore
  var push: (any AnnounceRecordSink)?
  var rules: PipelineRules
  /// See EventLoop.moderateWakes.
  var batchDelayNanoseconds: UInt64 = 0
  var metrics: MetricRegistry
  var heartbeat: Heartbeat
}

/// The objects of one worker thread.
final class Worker {
  private let pipeline: AnnouncePipeline
  private let udp: UDPFrontend?
  private let http: HTTPFrontend?

  init(_ plan: WorkerPlan, loop: EventLoop) throws(SystemError) {
    let pipeline = AnnouncePipeline(
      store: plan.store, push: plan.push, rules: plan.rules, mailbox: plan.mailbox)
    self.pipeline = pipeline
    if let rules = plan.udpRules, !plan.udpSockets.isEmpty {
      udp = try UDPFrontend(
        sockets: plan.udpSockets, pipeline: pipeline, rules: rules, metrics: plan.metrics, loop: loop)
    } else {
      udp = nil
    }
    if let rules = plan.httpRules, !plan.httpListeners.isEmpty {
      http = try HTTPFrontend(
        listeners: plan.httpListeners, pipeline: pipeline, rules: rules, metrics: plan.metrics, loop: loop)
    } else {
      http = nil
    }
    loop.afterEachBatch { pipeline.flushRecords() }
    loop.moderateWakes(delayNanoseconds: plan.batchDelayNanoseconds)
    plan.heartbeat.follow(loop)
  }

  /// Follows a reloaded configuration from the next request on.
  func update(_ rules: PipelineRules, _ udpRules: UDPRules?, _ httpRules: HTTPRules?) {
    pipeline.rules = rules
    if let udpRules { udp?.rules = udpRules }
    if let httpRules { http?.update(httpRules) }
  }

  /// Stops taking requests and ends the loop when the last answer is out.
  func drain(_ loop: EventLoop) {
    guard let http else { return loop.stop() }
    http.drain { loop.stop() }
  }

  /// The last words of the thread: hands over what the last batch left.
  func finish() {
    pipeline.resumeRest()
    pipeline.flushRecords()
    if pipeline.parkedCount > 0 {
      Log.warning("stopped with announces whose approval nobody had answered", ["announces": pipeline.parkedCount])
    }
  }
}
