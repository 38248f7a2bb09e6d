package dev.imago.bench;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;

/**
 * Opens an image, writes 4 KiB at an offset, closes it, in a fresh JVM, and says how long each
 * took: three numbers of microseconds. Nothing is flushed (cache mode unsafe).
 */
final class FirstWrite {
  private FirstWrite() {}

  public static void main(String[] args) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocateDirect(4096);
    while (bytes.hasRemaining()) {
      bytes.put((byte) 7);
    }
    OpenOptions options =
        OpenOptions.of(References.deny()).format("qcow2").writable(true).sync(SyncMode.NONE);
    long start = System.nanoTime();
    long opened;
    long written;
    try (Image image = Images.open(Path.of(args[0]), options)) {
      opened = System.nanoTime();
      image.write(bytes.flip(), Long.parseLong(args[1]));
      written = System.nanoTime();
    }
    long closed = System.nanoTime();
    System.out.println(
        (opened - start) / 1000
            + " "
            + (written - opened) / 1000
            + " "
            + (closed - written) / 1000);
  }
}
