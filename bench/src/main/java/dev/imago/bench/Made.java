package dev.imago.bench;

/** What a program makes. */
enum Made {
  /** It only looks. */
  NOTHING,
  /** A file whose name is the last argument. */
  FILE,
  /** Contents of a new image, as long as the random data, whose name is the last argument. */
  IN_QCOW2,
  /** The same with extended L2 entries. */
  IN_EXTENDED
}
