package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.filter.FaultStorage;
import dev.imago.filter.ImageStorage;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2Info;
import dev.imago.storage.Storage;
import java.io.IOException;

/** What {@code info} tells of an image that block drivers make up. No image is opened for it. */
final class NodeLook {
  private final OpenOptions how;
  private final boolean typed;

  private NodeLook(OpenOptions how, boolean typed) {
    this.how = how;
    this.typed = typed;
  }

  /**
   * Looks.
   *
   * @param name one that has nodes
   */
  static ImageInfo at(FileName name, BlockOptions nodes, OpenOptions how)
      throws Failure, IOException {
    return new NodeLook(how, name.typed().startsWith("json:")).look(nodes);
  }

  private ImageInfo look(BlockOptions options) throws Failure, IOException {
    String driver = options.copy().take("driver");
    return switch (driver) {
      case "compress", "copy-on-read", "throttle" -> filter(driver, options.copy(), options.copy());
      case null, default -> format(options.copy(), options.copy());
    };
  }

  /** A filter has what is below it, and nothing that only a format has. */
  private ImageInfo filter(String driver, BlockOptions options, BlockOptions same)
      throws Failure, IOException {
    options.take("driver");
    NodeOptions.take(options, how);
    BlockOptions file = BlockNodes.takeFiltered(options);
    if (driver.equals("throttle")) {
      ThrottleGroups.require(options.take("throttle-group"));
    }
    options.requireAllTaken("format", driver);
    ImageInfo below = look(file);
    BlockNodes.requireFit(driver, below.format(), true);
    return new ImageInfo(
        NodeName.of(same, driver, typed),
        below.place(),
        driver,
        below.virtualSize(),
        below.allocatedBytes(),
        below.clusterBytes(),
        below.flagged(),
        null);
  }

  private ImageInfo format(BlockOptions options, BlockOptions same) throws Failure, IOException {
    try (BlockNodes.Place place = new BlockNodes(how, said -> {}).place(options)) {
      Storage storage = place.storage();
      String format = place.format() == null ? Images.probe(storage) : place.format();
      Qcow2Info qcow2 = format.equals("qcow2") ? Qcow2.info(storage) : null;
      String file = storage.name();
      return new ImageInfo(
          Exports.isOne(file) ? file : NodeName.of(same, format, typed),
          file,
          format,
          storage.size(),
          storage instanceof FaultStorage ? -1 : storage.allocatedBytes(), // as QEMU has it
          qcow2 != null ? qcow2.clusterSize() : clusterBytesBelow(storage),
          qcow2 != null || place.isOfFile(),
          qcow2);
    }
  }

  /** What is raw has the clusters of what is below it, if that is an image. */
  private static long clusterBytesBelow(Storage storage) {
    return storage instanceof ImageStorage image ? image.clusterSize() : 0;
  }
}
