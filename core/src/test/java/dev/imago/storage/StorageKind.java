package dev.imago.storage;

import dev.imago.storage.FileStorage.Options;
import java.io.IOException;
import java.nio.file.Path;

/** Every kind of storage that keeps what it is given. */
enum StorageKind {
  CALLS,
  CALLS_BY_VIRTUAL_THREAD,
  BYPASSING_THE_CACHE,
  WITHOUT_NATIVE_ACCESS,
  MEMORY,
  TAGGED;

  Storage create(Path file) throws IOException {
    return switch (this) {
      case MEMORY -> new MemoryStorage("memory");
      case TAGGED -> new TaggedStorage<>(new MemoryStorage("memory"), "tag");
      default -> FileStorage.create(file, options());
    };
  }

  boolean isFile() {
    return this != MEMORY && this != TAGGED;
  }

  Options options() {
    return switch (this) {
      case BYPASSING_THE_CACHE -> Options.readWrite().withDirect(true);
      case WITHOUT_NATIVE_ACCESS -> Options.readWrite().withNativeAccess(false);
      default -> Options.readWrite();
    };
  }

  /** Something that may fail. */
  interface Body {
    void run() throws Exception;
  }

  /** Runs a test's body on the kind of thread that this is about. */
  void onItsThread(Body body) throws Exception {
    if (this == CALLS_BY_VIRTUAL_THREAD) {
      Threads.run(Thread.ofVirtual(), body);
    } else {
      body.run();
    }
  }
}
