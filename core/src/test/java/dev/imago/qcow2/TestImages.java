package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.SyncMode;
import dev.imago.raw.Raw;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Opens images from files for the tests of this room. */
final class TestImages {
  /** Opens whatever is named, as raw or qcow2. */
  static final ReferenceOpener FILES =
      new ReferenceOpener() {
        @Override
        public Image openBacking(String name, @Nullable String format) throws IOException {
          Storage storage = FileStorage.open(Path.of(name), FileStorage.Options.readOnly());
          return "raw".equals(format)
              ? Raw.open(storage, false, SyncMode.FULL)
              : Qcow2.open(storage, Qcow2OpenOptions.defaults(), this);
        }

        @Override
        public Storage openDataFile(String name, boolean writable) throws IOException {
          return FileStorage.open(
              Path.of(name),
              writable ? FileStorage.Options.readWrite() : FileStorage.Options.readOnly());
        }
      };

  private TestImages() {}

  static Image open(Path file) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readWrite()),
        Qcow2OpenOptions.defaults().withWritable(true),
        FILES);
  }

  /** With room for that many bytes of L2 tables, and of refcount blocks. */
  static Image openWithCaches(Path file, long bytes) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readWrite()),
        Qcow2OpenOptions.defaults().withWritable(true).withCaches(bytes, bytes),
        FILES);
  }

  static Image openReadOnly(Path file) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readOnly()), Qcow2OpenOptions.defaults(), FILES);
  }

  /** For reading, while others may write. */
  static Image openWithoutLock(Path file) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readOnly().withLock(false)),
        Qcow2OpenOptions.defaults(),
        FILES);
  }

  /** A file whose calls are counted and can be made to fail. */
  static FaultyStorage faulty(Path file) throws IOException {
    return new FaultyStorage(FileStorage.open(file, FileStorage.Options.readWrite()));
  }

  static Image open(FaultyStorage storage) throws IOException {
    return Qcow2.open(storage, Qcow2OpenOptions.defaults().withWritable(true), FILES);
  }

  /** Bytes that all have one value. */
  static ByteBuffer filled(int length, int value) {
    byte[] bytes = new byte[length];
    java.util.Arrays.fill(bytes, (byte) value);
    return ByteBuffer.wrap(bytes);
  }

  static byte[] read(Image image, long guestOffset, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    image.read(bytes, guestOffset);
    return bytes.array();
  }

  static long word(Path file, long at) throws IOException {
    try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "r")) {
      open.seek(at);
      return open.readLong();
    }
  }

  static void setWord(Path file, long at, long value) throws IOException {
    try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "rw")) {
      open.seek(at);
      open.writeLong(value);
    }
  }
}
