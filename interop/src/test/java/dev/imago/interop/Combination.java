package dev.imago.interop;

import dev.imago.CreateOptions;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;

/**
 * One kind of image of the matrix.
 *
 * @param clusterSize in bytes
 * @param version 2 or 3
 */
record Combination(int clusterSize, int refcountBits, int version, Kind kind) {

  /** What is behind, beside or inside an image. */
  enum Kind {
    PLAIN,
    /** A qcow2 image as long as the overlay. */
    BACKING_QCOW2,
    /** A raw file that ends early, in the middle of a cluster. */
    BACKING_SHORTER,
    /** A qcow2 image that goes on behind the overlay's end. */
    BACKING_LONGER,
    DATA_FILE,
    /** The data file stays a raw image of the disk. */
    DATA_FILE_RAW,
    /** Compressed by qemu-img. */
    ZLIB,
    /** Compressed by qemu-img. */
    ZSTD,
    /** With subclusters, and nothing behind. */
    EXTENDED_L2,
    /** With subclusters, over a qcow2 image that goes on behind the overlay's end. */
    EXTENDED_L2_BACKING,
    /** With subclusters, and a data file. */
    EXTENDED_L2_DATA_FILE,
    /** With subclusters, compressed by qemu-img. */
    EXTENDED_L2_ZLIB;

    boolean extendedL2() {
      return name().startsWith("EXTENDED_L2");
    }

    boolean backing() {
      return this == BACKING_QCOW2
          || this == BACKING_SHORTER
          || this == BACKING_LONGER
          || this == EXTENDED_L2_BACKING;
    }

    boolean dataFile() {
      return this == DATA_FILE || this == DATA_FILE_RAW || this == EXTENDED_L2_DATA_FILE;
    }

    boolean compressed() {
      return this == ZLIB || this == ZSTD || this == EXTENDED_L2_ZLIB;
    }
  }

  /**
   * All that the format allows: version 2 has 16-bit counts, no data file and no zstd; subclusters
   * need version 3 and clusters of 16 KiB.
   */
  static Stream<Combination> all() {
    List<Combination> all = new ArrayList<>();
    for (int clusterSize : List.of(512, 4 << 10, 64 << 10, 2 << 20)) {
      for (Kind kind : Kind.values()) {
        if (kind.extendedL2() && clusterSize < 16 << 10) {
          continue;
        }
        for (int refcountBits : List.of(1, 16, 64)) {
          all.add(new Combination(clusterSize, refcountBits, 3, kind));
        }
        if (!kind.dataFile() && kind != Kind.ZSTD && !kind.extendedL2()) {
          all.add(new Combination(clusterSize, 16, 2, kind));
        }
      }
    }
    return all.stream();
  }

  /** Of the disk in bytes: some L2 tables for small clusters, and a short last cluster. */
  long size() {
    return switch (clusterSize) {
          case 512 -> 3 << 20;
          case 4 << 10 -> 5 << 20;
          case 64 << 10 -> 6 << 20;
          default -> 22L << 20;
        }
        + 3 * 512;
  }

  long seed() {
    return 31L * (31L * clusterSize + refcountBits) + 7L * version + kind.ordinal();
  }

  String backingFormat() {
    return kind == Kind.BACKING_SHORTER ? "raw" : "qcow2";
  }

  String compressionType() {
    return kind == Kind.ZSTD ? "zstd" : "zlib";
  }

  /** What the overlay has behind it; written into {@code folder} as {@code base}. */
  byte[] makeBacking(Path folder) throws IOException, InterruptedException {
    if (!kind.backing()) {
      return new byte[0];
    }
    long length =
        switch (kind) {
          case BACKING_SHORTER -> size() / 2 + 512;
          case BACKING_LONGER, EXTENDED_L2_BACKING -> size() * 3 / 2 / 512 * 512;
          default -> size();
        };
    byte[] bytes = content((int) length, seed());
    Path raw = folder.resolve("base.raw");
    Files.write(raw, bytes);
    if (kind == Kind.BACKING_SHORTER) {
      Files.move(raw, folder.resolve("base"));
    } else {
      Qemu.img("convert", "-f", "raw", "-O", "qcow2", raw, folder.resolve("base"));
      Files.delete(raw);
    }
    return bytes;
  }

  /** Makes the image with qemu-img, empty, or full of compressed data. */
  byte[] makeWithQemu(Path image) throws IOException, InterruptedException {
    List<Object> words = new ArrayList<>();
    String options =
        "cluster_size=%d,refcount_bits=%d,compat=%s"
            .formatted(clusterSize, refcountBits, version == 2 ? "0.10" : "1.1");
    if (kind == Kind.ZSTD) {
      options += ",compression_type=zstd";
    }
    if (kind.extendedL2()) {
      options += ",extended_l2=on";
    }
    if (kind.dataFile()) {
      options += ",data_file=" + image + ".data";
    }
    if (kind == Kind.DATA_FILE_RAW) {
      options += ",data_file_raw=on";
    }
    if (kind.compressed()) {
      byte[] bytes = content((int) size(), seed());
      Path raw = image.resolveSibling("plain");
      Files.write(raw, bytes);
      Qemu.img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, image);
      Files.delete(raw);
      return bytes;
    }
    words.addAll(List.of("create", "-q", "-f", "qcow2", "-o", options));
    if (kind.backing()) {
      words.addAll(List.of("-b", "base", "-F", backingFormat()));
    }
    words.addAll(List.of(image, size()));
    Qemu.img(words.toArray());
    return new byte[0];
  }

  CreateOptions createOptions(Path image) {
    CreateOptions options =
        CreateOptions.of("qcow2", size())
            .clusterSize(clusterSize)
            .refcountBits(refcountBits)
            .version(version)
            .extendedL2(kind.extendedL2());
    if (kind.backing()) {
      options = options.backing("base", backingFormat());
    }
    if (kind.dataFile()) {
      options = options.dataFile(image + ".data", kind == Kind.DATA_FILE_RAW);
    }
    return options;
  }

  /** Bytes that compress well, badly and not at all, with holes of zeroes. */
  static byte[] content(int length, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    byte[] bytes = new byte[length];
    for (int at = 0; at < length; ) {
      int run = Math.min(length - at, 512 * (1 + random.nextInt(256)));
      switch (random.nextInt(4)) {
        case 0 -> {}
        case 1 -> Arrays.fill(bytes, at, at + run, (byte) random.nextInt(256));
        case 2 -> {
          byte[] noise = new byte[run];
          random.nextBytes(noise);
          System.arraycopy(noise, 0, bytes, at, run);
        }
        default -> {
          for (int i = 0; i < run; i++) {
            bytes[at + i] = (byte) ("qcow2 ".charAt(i % 6) + i / 997);
          }
        }
      }
      at += run;
    }
    return bytes;
  }
}
