package dev.imago.storage;

import dev.imago.internal.LinuxFile;
import dev.imago.internal.LinuxFile.Opened;
import java.io.IOException;
import java.nio.file.FileSystems;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** From a path to an open, judged, locked and, if wanted, emptied file. */
final class FileOpener {
  private static final int FIFO = 1;
  private static final int CHARACTER_DEVICE = 2;
  private static final int DIRECTORY = 4;
  private static final int BLOCK_DEVICE = 6;
  private static final int REGULAR = 8;
  private static final int SOCKET = 12;
  private static final int NEW_FILE_MODE = 0644;

  private FileOpener() {}

  static FileStorage open(Path path, FileStorage.Options options, boolean create)
      throws IOException {
    if (!path.getFileSystem().equals(FileSystems.getDefault())) {
      throw new IllegalArgumentException(path + " is not a file of the host");
    }
    String name = path.toString();
    if (!options.nativeAccess() || !LinuxFile.available()) {
      throw new UnsupportedOperationException("no native access: not done yet");
    }
    return openNative(name, options, create);
  }

  private static FileStorage openNative(String name, FileStorage.Options options, boolean create)
      throws IOException {
    // Looked at before it is opened, because opening some devices has effects of its own; and again
    // on the descriptor, which is what counts.
    LinuxFile.Stat before = LinuxFile.stat(name);
    if (before != null) {
      judge(name, before);
    }
    int flags =
        (options.writable() ? LinuxFile.RDWR : LinuxFile.RDONLY)
            | (create ? LinuxFile.CREAT : 0)
            | LinuxFile.NONBLOCK
            | LinuxFile.NOCTTY;
    LinuxFile file = opened(name, LinuxFile.open(name, flags, NEW_FILE_MODE));
    try {
      boolean blockDevice = judge(name, file.stat());
      HostFile host = new NativeFile(name, file, blockDevice);
      if (options.lock() || create) {
        QemuLocks locks = options.writable() ? QemuLocks.WRITER : QemuLocks.READER;
        locks.take(name, new QemuLocks.OpenFile(name, file));
      }
      if (create && !blockDevice) {
        host.truncate(0);
      }
      if (!options.lock() && create) {
        for (int at : QemuLocks.WRITER.bytes()) {
          file.unlock(at);
        }
      }
      return FileStorage.of(name, host, options, blockDevice);
    } catch (IOException | RuntimeException e) {
      file.close();
      throw e;
    }
  }

  private static LinuxFile opened(String name, Opened opened) throws IOException {
    return switch (opened) {
      case Opened.File f -> f.file();
      case Opened.Failed f -> throw StorageIoException.opening(name, f.errno());
    };
  }

  /** Whether it is a block device; anything that is not a file either is refused. */
  private static boolean judge(String name, LinuxFile.@Nullable Stat stat) throws IOException {
    if (stat == null) {
      throw new StorageIoException(name, "the system does not say what kind of file this is");
    }
    return switch (stat.kind()) {
      case REGULAR -> false;
      case BLOCK_DEVICE -> true;
      case FIFO -> throw wrongKind(name, "a FIFO");
      case SOCKET -> throw wrongKind(name, "a socket");
      case DIRECTORY -> throw wrongKind(name, "a directory");
      case CHARACTER_DEVICE -> throw wrongKind(name, "a character device");
      default -> throw wrongKind(name, "none of these");
    };
  }

  static IOException wrongKind(String name, String kind) {
    return new StorageIoException(
        name,
        "'file' driver requires '%s' to be a regular file or a block device, but it is %s"
            .formatted(name, kind));
  }
}
