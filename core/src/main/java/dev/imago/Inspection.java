package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.Qcow2Info;
import dev.imago.raw.Raw;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What one file says about itself. Made without opening anything that the file names.
 *
 * @param name the path as the caller gave it
 * @param format as asked for, or the best of {@code matching}
 * @param matching every format that the first bytes fit, best first; {@code raw} fits always
 * @param virtualSize size of the disk in bytes
 * @param fileLength length of the file in bytes
 * @param allocatedBytes host space in use, or -1 if that is not known
 * @param clusterSize in bytes; 1 if the format has none
 * @param backingFile as it stands in the file, or null
 * @param backingFormat as it stands in the file, or null if it does not say
 * @param dataFile as it stands in the file, or null
 * @param encrypted whether guest data is encrypted
 * @param dirty whether the image was not closed cleanly
 * @param corrupt whether someone has marked the image as corrupt
 * @param snapshots number of internal snapshots
 * @param qcow2 all that a qcow2 image says; null for other formats
 */
public record Inspection(
    String name,
    String format,
    List<String> matching,
    long virtualSize,
    long fileLength,
    long allocatedBytes,
    int clusterSize,
    @Nullable String backingFile,
    @Nullable String backingFormat,
    @Nullable String dataFile,
    boolean encrypted,
    boolean dirty,
    boolean corrupt,
    int snapshots,
    @Nullable Qcow2Info qcow2) {

  static Inspection of(Storage storage, List<String> matching, Qcow2Info info) throws IOException {
    return new Inspection(
        storage.name(),
        Formats.QCOW2,
        matching,
        info.size(),
        storage.size(),
        storage.allocatedBytes(),
        info.clusterSize(),
        info.backingFile(),
        info.backingFormat(),
        info.dataFile(),
        info.encryption() != null,
        info.dirty(),
        info.corrupt(),
        info.snapshots().size(),
        info);
  }

  static Inspection ofRaw(Storage storage, List<String> matching) throws IOException {
    Image disk = Raw.open(storage, false, SyncMode.NONE);
    return new Inspection(
        storage.name(),
        disk.format(),
        matching,
        disk.size(),
        storage.size(),
        storage.allocatedBytes(),
        disk.clusterSize(),
        null,
        null,
        null,
        false,
        false,
        false,
        0,
        null);
  }
}
