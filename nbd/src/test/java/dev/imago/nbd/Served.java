package dev.imago.nbd;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2CreateOptions;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import java.io.Closeable;
import java.io.IOException;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ResourceBundle;
import java.util.concurrent.CompletableFuture;
import java.util.function.UnaryOperator;

/** A server over images in memory, at a Unix socket of its own. */
final class Served implements Closeable {
  static final int SIZE = 8 << 20;

  final Path folder;
  final Image image;
  final NbdServer server;

  private Served(Path folder, Image image, NbdServer server) {
    this.folder = folder;
    this.image = image;
    this.server = server;
  }

  /** Closes a server on another thread. */
  static CompletableFuture<Void> closing(NbdServer server) {
    return CompletableFuture.runAsync(
        () -> {
          try {
            server.close();
          } catch (IOException e) {
            throw new AssertionError(e);
          }
        });
  }

  SocketAddress address() {
    return server.address();
  }

  static Image raw(Storage storage) throws IOException {
    return Images.open(storage, OpenOptions.of(References.deny()).format("raw").writable(true));
  }

  static Image raw() throws IOException {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(SIZE, Storage.Preallocation.OFF);
    return raw(storage);
  }

  static Image qcow2() throws IOException {
    MemoryStorage storage = new MemoryStorage("disk.qcow2");
    Qcow2.create(storage, Qcow2CreateOptions.ofSize(SIZE), null);
    return Images.open(storage, OpenOptions.of(References.deny()).format("qcow2").writable(true));
  }

  /** Serves an image as its only export, named {@code disk}. */
  static Served of(Image image, UnaryOperator<NbdServerOptions> changes) throws IOException {
    NbdExport export = NbdExport.of("disk", image).description("a disk");
    return of(image, NbdServerOptions.of(export), changes);
  }

  static Served of(Image image) throws IOException {
    return of(image, options -> options);
  }

  static Served of(Image image, NbdServerOptions options, UnaryOperator<NbdServerOptions> changes)
      throws IOException {
    Path folder = Files.createTempDirectory("nbd");
    NbdServer server =
        NbdServer.listen(
            UnixDomainSocketAddress.of(folder.resolve("socket")),
            changes.apply(options.log(new Quiet())));
    return new Served(folder, image, server);
  }

  @Override
  public void close() throws IOException {
    server.close();
    image.close();
    Files.delete(folder); // which is empty: the socket was taken away
  }

  /** Says nothing; what goes wrong shows in the tests. */
  static final class Quiet implements System.Logger {
    @Override
    public String getName() {
      return "quiet";
    }

    @Override
    public boolean isLoggable(Level level) {
      return false;
    }

    @Override
    public void log(Level level, ResourceBundle bundle, String text, Throwable thrown) {}

    @Override
    public void log(Level level, ResourceBundle bundle, String format, Object... of) {}
  }
}
