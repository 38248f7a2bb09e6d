package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.Progress;
import dev.imago.storage.Storage;

/** Compares what an image counts with what it uses. */
final class Qcow2Checker {
  private Qcow2Checker() {}

  static CheckResult check(Storage storage, Progress progress) {
    throw new UnsupportedOperationException("check of " + storage.name());
  }
}
