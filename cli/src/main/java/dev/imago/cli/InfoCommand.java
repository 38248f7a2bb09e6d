package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.References;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2Info;
import dev.imago.storage.FileStorage;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code info}: what an image is. Neither its backing file nor its data file is opened. */
final class InfoCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.flag('U', "force-share"),
    Option.value("output"),
    Option.flag("backing-chain"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private InfoCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String output = "human";
    boolean chain = false;
    boolean forceShare = false;
    boolean imageOpts = false;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "info");
        }
        case "f" -> format = options.value();
        case "force-share" -> forceShare = true;
        case "output" -> output = options.value();
        case "backing-chain" -> chain = true;
        case "object" -> terminal.secrets().add(options.value());
        case "image-opts" -> imageOpts = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    Source source = options.onlySource(imageOpts, format);
    OutputFormat outputFormat = OutputFormat.of(output);
    List<ImageInfo> images = new ArrayList<>();
    BlockOptions nodes = source.name().nodes();
    images.add(
        nodes != null
            ? look(source.name(), nodes, source.options(terminal.secrets()).forceShare(forceShare))
            : look(source.name(), source.format(), forceShare));
    if (chain) {
      addChain(images, forceShare);
    }
    StringBuilder text = new StringBuilder();
    if (outputFormat == OutputFormat.HUMAN) {
      for (ImageInfo image : images) {
        text.append(text.isEmpty() ? "" : "\n");
        image.appendHuman(text);
      }
    } else {
      List<Dict> dicts = new ArrayList<>();
      for (ImageInfo image : images) {
        dicts.add(image.toDict());
      }
      Json.append(text, chain ? dicts : dicts.getFirst());
      text.append('\n');
    }
    terminal.print(text);
    return 0;
  }

  private static void addChain(List<ImageInfo> images, boolean forceShare) throws Failure {
    for (int i = 0; ; i++) {
      ImageInfo image = images.get(i);
      String backing = image.fullBackingFile();
      if (backing == null) {
        return;
      }
      for (ImageInfo above : images) {
        if (above.place().equals(backing)) {
          throw new Failure("Backing file '" + backing + "' creates an infinite loop.");
        }
      }
      if (images.size() == References.MAX_DEPTH) {
        throw new Failure("The backing chain is longer than " + References.MAX_DEPTH + " images.");
      }
      String format = image.backingFormat();
      FileName below =
          Exports.isOne(backing) && !Safety.on()
              ? Source.named(backing, format).name()
              : FileName.of(backing);
      BlockOptions nodes = below.nodes();
      images.add(
          nodes != null
              ? look(below, nodes, Opening.options(null))
              : look(below, format, forceShare));
    }
  }

  /** Looks at what block drivers make up. */
  private static ImageInfo look(FileName name, BlockOptions nodes, OpenOptions how) throws Failure {
    try {
      return NodeLook.at(name, nodes, how);
    } catch (IOException e) {
      throw Errors.opening(name, e, 1);
    } catch (Failure e) {
      throw new Failure("Could not open '" + name.typed() + "': " + e.getMessage(), 1, e);
    }
  }

  /** Looks at one file. No lambda: this is the shortest command, and start-up is most of it. */
  private static ImageInfo look(FileName name, @Nullable String format, boolean forceShare)
      throws Failure {
    Opening.requireKnown(name, format, 1);
    FileStorage.Options options = FileStorage.Options.readOnly().withLock(!forceShare);
    try (FileStorage storage = FileStorage.open(name.path(), options)) {
      String known = format != null ? format : Images.probe(storage);
      Qcow2Info qcow2 = known.equals("qcow2") ? Qcow2.info(storage) : null;
      return new ImageInfo(name.literal(), known, storage.size(), storage.allocatedBytes(), qcow2);
    } catch (IOException e) {
      throw Errors.opening(name, e, 1);
    } catch (Failure e) {
      throw new Failure("Could not open '" + name.typed() + "': " + e.getMessage(), 1, e);
    }
  }
}
