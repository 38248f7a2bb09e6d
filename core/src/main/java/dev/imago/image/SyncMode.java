package dev.imago.image;

/** How hard an image tries to keep what was flushed. The order inside the process is the same. */
public enum SyncMode {
  /** Every barrier is a barrier of the host: safe against a power cut at any instant. */
  FULL,
  /**
   * A flush ends with one barrier of the host; between its stages only the order of system calls is
   * kept. Safe against a killed process, not against a power cut in the middle of a flush.
   */
  RELAXED,
  /** No barriers at all: QEMU's {@code unsafe}. For images that can be made again. */
  NONE
}
