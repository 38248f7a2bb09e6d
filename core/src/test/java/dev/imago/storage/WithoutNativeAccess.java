package dev.imago.storage;

import dev.imago.storage.FileStorage.Options;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** A program for a JVM of its own: uses a file storage and says what it found. */
final class WithoutNativeAccess {
  private WithoutNativeAccess() {}

  /**
   * Runs.
   *
   * @param arguments a file to make, and one that somebody else is writing to
   */
  public static void main(String[] arguments) throws Exception {
    try (FileStorage storage = FileStorage.create(Path.of(arguments[0]), Options.readWrite())) {
      storage.write(ByteBuffer.wrap("hello".getBytes(StandardCharsets.US_ASCII)), 100_000);
      storage.writeZeroes(100_001, 3, Storage.ZeroMode.SPARSE);
      boolean discarded = storage.discard(0, 50_000);
      storage.flush();
      ByteBuffer dst = ByteBuffer.allocateDirect(10);
      storage.read(dst, 100_000);
      System.out.printf(
          "%s %d %s %s %c%d%c%n",
          FileStorage.nativeAccess(),
          storage.size(),
          discarded,
          storage.run(0, Long.MAX_VALUE),
          dst.get(0),
          dst.get(2),
          dst.get(4));
    }
    try {
      FileStorage.open(Path.of(arguments[1]), Options.readOnly());
    } catch (StorageLockedException e) {
      System.out.println(e.lock());
    }
  }
}
