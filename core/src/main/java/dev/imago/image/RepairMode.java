package dev.imago.image;

/** What a repair may set right. */
public enum RepairMode {
  /** Clusters that are counted too often are given back; nothing that could be data is touched. */
  LEAKS,
  /** Everything that can be set right without guessing. */
  ALL
}
