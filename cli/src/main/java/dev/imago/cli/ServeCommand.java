package dev.imago.cli;

import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.nbd.NbdExport;
import dev.imago.nbd.NbdServer;
import dev.imago.nbd.NbdServerOptions;
import dev.imago.nbd.NbdTls;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code serve}: lets NBD clients use images, until it is told to stop or they have gone. */
final class ServeCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.flag('A', "allocation-depth"),
    Option.value('b', "bind"),
    Option.value('B', "bitmap"),
    Option.value("cache"),
    Option.value('D', "description"),
    Option.value('e', "shared"),
    Option.flag("extended-headers"),
    Option.value('f'),
    Option.flag("fork"),
    Option.value("handshake-limit"),
    Option.value("idle-limit"),
    Option.flag("image-opts"),
    Option.value('k', "socket"),
    Option.value('L', "list"),
    Option.value('l', "load-snapshot"),
    Option.value("max-connections"),
    Option.value("object"),
    Option.value('o', "offset"),
    Option.value('P', "partition"),
    Option.value("pid-file"),
    Option.value('p', "port"),
    Option.flag('r', "read-only"),
    Option.flag('t', "persistent"),
    Option.value("tls-certs"),
    Option.value("tls-creds"),
    Option.flag("tls-verify-peer"),
    Option.flag('v', "verbose"),
    Option.value('x', "export-name")
  };

  private final Terminal terminal;
  private final ServeAddress address = new ServeAddress();
  private final List<String> names = new ArrayList<>();
  private final List<String> descriptions = new ArrayList<>();
  private final List<String> bitmaps = new ArrayList<>();
  private @Nullable String format;
  private @Nullable String snapshot;
  private @Nullable String pidFile;
  private @Nullable String certificates;
  private @Nullable String credentials;
  private String cache = "writeback";
  private int partition;
  private long offset;
  private int clients = 1;
  private long handshakeLimit = 10;
  private long idleLimit;
  private boolean allocationDepth;
  private boolean extendedHeaders;
  private boolean fork;
  private boolean imageOpts;
  private boolean persistent;
  private boolean readOnly;
  private boolean verbose;
  private boolean verifyPeer;

  private ServeCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    ServeCommand command = new ServeCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "serve");
      }
      if (option.equals("list")) {
        ExportList.print(terminal, options.value());
        return 0;
      }
      command.take(option, options.value());
    }
    List<String> operands = options.operands();
    if (operands.isEmpty()) {
      throw new Failure("Expecting at least one image file name");
    }
    command.requireSense(operands.size());
    if (command.fork && !Forked.waitedFor()) {
      ServiceManager.requireNoSocket();
      return Forked.start(terminal, "serve", args);
    }
    command.serve(operands);
    return 0;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "allocation-depth" -> allocationDepth = true;
      case "bind" -> address.bind(value);
      case "bitmap" -> bitmaps.add(value);
      case "cache" -> cache = value;
      case "description" -> descriptions.add(value);
      case "shared", "max-connections" -> clients = clients(value);
      case "extended-headers" -> extendedHeaders = true;
      case "f" -> format = value;
      case "fork" -> fork = true;
      case "handshake-limit" -> handshakeLimit = seconds("handshake limit", value);
      case "idle-limit" -> idleLimit = seconds("idle limit", value);
      case "image-opts" -> imageOpts = true;
      case "socket" -> address.socket(value);
      case "load-snapshot" -> {
        SnapshotCommand.requireValid(value);
        snapshot = value;
        readOnly = true;
      }
      case "object" -> terminal.secrets().add(value);
      case "offset" -> offset = Size.require(terminal, "offset", value, 0, Long.MAX_VALUE);
      case "partition" ->
          partition = (int) Size.require(terminal, "partition", value, 1, Partitions.MOST);
      case "pid-file" -> pidFile = value;
      case "port" -> address.port(value);
      case "read-only" -> readOnly = true;
      case "persistent" -> persistent = true;
      case "tls-certs" -> certificates = value;
      case "tls-creds" -> credentials = value;
      case "tls-verify-peer" -> verifyPeer = true;
      case "verbose" -> verbose = true;
      default -> names.add(value);
    }
  }

  private int clients(String value) throws Failure {
    int number = (int) Size.require(terminal, "shared device number", value, 0, 1 << 16);
    return number == 0 ? NbdServerOptions.CONNECTIONS : number;
  }

  private long seconds(String noun, String value) throws Failure {
    return Size.require(terminal, noun, value, 0, 1 << 30);
  }

  private void requireSense(int images) throws Failure {
    if (names.size() > images || descriptions.size() > images) {
      throw new Failure("There are more names or descriptions than images");
    }
    if (offset > 0 && partition > 0) {
      throw new Failure("--offset and --partition are mutually exclusive");
    }
    if (verifyPeer && certificates == null) {
      throw new Failure("--tls-verify-peer needs --tls-certs");
    }
    if (certificates != null && credentials != null) {
      throw new Failure("--tls-certs and --tls-creds are mutually exclusive");
    }
  }

  private void serve(List<String> operands) throws Exception {
    List<Image> images = new ArrayList<>();
    try {
      NbdServerOptions options = null;
      for (int i = 0; i < operands.size(); i++) {
        Image image = open(operands.get(i));
        images.add(image);
        NbdExport export = export(image, name(operands, i), i);
        options = options == null ? NbdServerOptions.of(export) : options.export(export);
      }
      if (options != null) {
        run(options);
      }
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    } finally {
      close(images);
    }
  }

  private Image open(String operand) throws Failure, IOException {
    CacheMode mode = CacheMode.target(cache);
    Source source = Source.of(operand, imageOpts, format);
    OpenOptions how =
        source
            .options(terminal.secrets())
            .writable(!readOnly)
            .direct(mode.direct())
            .sync(mode.sync());
    if (snapshot != null) {
      try (Image whole = Opening.image(source.name(), how)) {
        how = how.snapshot(SnapshotCommand.find(whole, snapshot));
      }
    }
    Image image = Opening.image(source.name(), how);
    if (!readOnly && source.format() == null && image.format().equals("raw")) {
      Opening.warnOfProbing(terminal, source.name());
    }
    return image;
  }

  /** An export's name: what was said, or nothing for an only one, or else the file's. */
  private String name(List<String> operands, int i) {
    if (i < names.size()) {
      return names.get(i);
    }
    String operand = operands.get(i);
    return operands.size() == 1 ? "" : operand.substring(operand.lastIndexOf('/') + 1);
  }

  private NbdExport export(Image image, String name, int i) throws Failure, IOException {
    NbdExport export = NbdExport.of(name, image).allocationDepth(allocationDepth);
    export = export.writeThrough(IoTarget.writesThrough(cache));
    if (i < descriptions.size()) {
      export = export.description(descriptions.get(i));
    }
    for (String bitmap : bitmaps) {
      export = export.bitmap(bitmap);
    }
    if (partition > 0) {
      Image.Range range = Partitions.find(image, partition);
      return export.window(range.guestOffset(), range.length());
    }
    if (offset > image.size()) {
      throw new Failure(
          "Offset (%d) has to be smaller than the image size (%d)".formatted(offset, image.size()));
    }
    return export.window(offset, image.size() - offset);
  }

  private void run(NbdServerOptions exports) throws Exception {
    NbdServerOptions options =
        exports
            .connections(clients)
            .handshakeTime(Duration.ofSeconds(handshakeLimit == 0 ? 1 << 30 : handshakeLimit))
            .idleTime(Duration.ofSeconds(idleLimit))
            .extendedHeaders(extendedHeaders)
            .log(new ServeLog(terminal, verbose));
    if (certificates != null) {
      options = options.tls(NbdTls.server(Path.of(certificates), verifyPeer));
    }
    if (credentials != null) {
      options = options.tls(Exports.serverTls(terminal.secrets(), credentials));
    }
    Path pid = null;
    try (NbdServer server = address.listen(options)) {
      Stopping.on(server);
      pid = pidFile == null ? null : writePid(pidFile);
      ServeLog.export(server);
      ServiceManager.ready();
      Forked.ready(terminal);
      if (persistent) {
        server.awaitClosed();
      } else {
        server.awaitClients();
      }
      ServiceManager.stopping();
    } finally {
      if (pid != null) {
        Files.deleteIfExists(pid);
      }
    }
  }

  private static Path writePid(String file) throws IOException {
    return Files.writeString(Path.of(file), ProcessHandle.current().pid() + "\n");
  }

  private static void close(List<Image> images) throws IOException {
    IOException failure = null;
    for (Image image : images) {
      try {
        image.close();
      } catch (IOException | RuntimeException e) {
        IOException next = e instanceof IOException io ? io : new IOException(e);
        if (failure == null) {
          failure = next;
        } else {
          failure.addSuppressed(next);
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
