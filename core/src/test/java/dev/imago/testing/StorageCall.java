package dev.imago.testing;

/** The kinds of request that a storage gets. */
public enum StorageCall {
  READ,
  WRITE,
  /** A write of several buffers. */
  WRITEV,
  ZERO,
  DISCARD,
  RESIZE,
  FLUSH,
  CLOSE
}
