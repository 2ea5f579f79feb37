// Repository: where this checkout is, for tests that read its files. Pure.

/// The checkout these sources were compiled from.
public enum Repository {
  /// An absolute path of a file in the checkout.
  public static func path(_ relative: String) -> String {
    // Tests/Simulation/Repository.swift
    let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
    return (parts + [Substring(relative)]).joined(separator: "/")
  }
}
