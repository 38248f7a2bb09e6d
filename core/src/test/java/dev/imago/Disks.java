package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.storage.MemoryStorage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;

/** Disks with random holes, for tests. */
final class Disks {
  private Disks() {}

  /** Runs of random bytes, zeroes and single bytes, of all lengths, aligned and not. */
  static byte[] random(long seed, int size) {
    var random = new SplittableRandom(seed);
    byte[] bytes = new byte[size];
    for (int at = 0; at < size; ) {
      int unit = 1 << random.nextInt(17);
      int end = (int) Math.min(size, at + (long) unit * random.nextInt(1, 5));
      switch (random.nextInt(4)) {
        case 0 -> {
          byte[] noise = new byte[end - at];
          random.nextBytes(noise);
          System.arraycopy(noise, 0, bytes, at, noise.length);
        }
        case 1 -> bytes[at] = 1;
        default -> {}
      }
      at = end;
    }
    return bytes;
  }

  /** A raw file that holds these bytes, with holes where there are pages of zeroes. */
  static Path raw(Path file, byte[] bytes) throws IOException {
    Files.deleteIfExists(file);
    try (Image image = created(file, CreateOptions.of("raw", bytes.length))) {
      ByteBuffer buffer = ByteBuffer.wrap(bytes);
      ZeroScan.split(
          buffer,
          0,
          bytes.length,
          0,
          4096,
          4096,
          (zero, from, to) -> {
            if (!zero) {
              image.write(buffer.slice(from, to - from), from);
            }
          });
    }
    return file;
  }

  static Image created(Path file, CreateOptions options) throws IOException {
    Images.create(file, options);
    return Images.open(
        file, OpenOptions.of(References.sameFolder()).format(options.format()).writable(true));
  }

  /** A raw image in memory. */
  static Image memory(byte[] bytes) throws IOException {
    var storage = new MemoryStorage("memory");
    storage.write(ByteBuffer.wrap(bytes), 0);
    return Images.open(storage, OpenOptions.of(References.deny()).format("raw").writable(true));
  }

  static byte[] read(Image image) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate((int) image.size());
    image.read(bytes, 0);
    return bytes.array();
  }

  static byte[] read(Path file) throws IOException {
    try (Image image = Images.openReadOnly(file, References.sameFolder())) {
      return read(image);
    }
  }
}
