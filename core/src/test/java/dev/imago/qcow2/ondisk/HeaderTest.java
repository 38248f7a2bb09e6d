package dev.imago.qcow2.ondisk;

import static dev.imago.qcow2.ondisk.Hex.HEADER;
import static dev.imago.qcow2.ondisk.Hex.bytes;
import static dev.imago.qcow2.ondisk.Hex.header;
import static dev.imago.qcow2.ondisk.Hex.hex;
import static dev.imago.qcow2.ondisk.Hex.plain;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.ImageException;
import dev.imago.image.ImageFormatException;
import dev.imago.image.UnsupportedFeatureException;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HeaderTest {
  private static final String V2 =
      "514649fb 00000002 0000000000000058 00000007 0000000c 0000000000100000"
          + "00000000 00000001 0000000000003000 0000000000001000 00000001 00000002"
          + "0000000000005000";

  @Test
  void version3FieldsAreReadAndWrittenBackByteForByte() throws Exception {
    Header h = Header.parse(bytes(HEADER), "a");

    assertThat(h.version()).isEqualTo(3);
    assertThat(h.clusterBits()).isEqualTo(16);
    assertThat(h.size()).isEqualTo(1 << 20);
    assertThat(h.l1Size()).isEqualTo(1);
    assertThat(h.l1TableOffset()).isEqualTo(0x30000);
    assertThat(h.refcountTableOffset()).isEqualTo(0x10000);
    assertThat(h.refcountTableClusters()).isEqualTo(1);
    assertThat(h.refcountOrder()).isEqualTo(4);
    assertThat(h.headerLength()).isEqualTo(112);
    assertThat(h.geometry()).isEqualTo(new Geometry(16, 4, 3, false));
    assertThat(written(h)).isEqualTo(plain(HEADER));
  }

  @Test
  void version2HasNoFeaturesAndCountsOf16Bits() throws Exception {
    Header h = Header.parse(bytes(V2), "a");

    assertThat(h.backingFileOffset()).isEqualTo(0x58);
    assertThat(h.backingFileSize()).isEqualTo(7);
    assertThat(h.snapshotCount()).isEqualTo(2);
    assertThat(h.snapshotsOffset()).isEqualTo(0x5000);
    assertThat(h.headerLength()).isEqualTo(72);
    assertThat(h.refcountOrder()).isEqualTo(4);
    assertThat(h.incompatible() | h.compatible() | h.autoclear()).isZero();
    assertThat(written(h)).isEqualTo(plain(V2));
  }

  @Test
  void bytesOfALongerHeaderAreKept() throws Exception {
    String longer =
        plain(HEADER).replace("0000000400000070", "0000000400000080").substring(0, 208)
            + "00a1a2a3a4a5a6a7"
            + "b0b1b2b3b4b5b6b7"
            + "c0c1c2c3c4c5c6c7";

    Header h = Header.parse(bytes(longer), "a");

    assertThat(h.additional().size()).isEqualTo(128 - 105);
    assertThat(written(h)).isEqualTo(longer);
    assertThat(written(h.withSize(512)).substring(208)).isEqualTo(longer.substring(208));
  }

  @Test
  void theShortestVersion3HeaderHasNoCompressionType() throws Exception {
    String shortest = plain(HEADER).replace("0000000400000070", "0000000400000068");

    Header h = Header.parse(bytes(shortest), "a");

    assertThat(h.compressionType()).isZero();
    assertThat(written(h)).isEqualTo(shortest.substring(0, 208));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0|00000000|a: magic at host offset 0x0: 0x00000000; an image in qcow2 format has 0x514649fb",
        "20|00000008|a: cluster_bits at host offset 0x14: 8; clusters have 2^9 to 2^21 bytes",
        "20|00000016|a: cluster_bits at host offset 0x14: 22; clusters have 2^9 to 2^21 bytes",
        "20|ffffffff|a: cluster_bits at host offset 0x14: 4294967295; clusters have 2^9 to 2^21 bytes",
        "100|00000060|a: header_length at host offset 0x64: 96; allowed are multiples of 8 from 104 to the cluster size, 65536",
        "100|00000069|a: header_length at host offset 0x64: 105; allowed are multiples of 8 from 104 to the cluster size, 65536",
        "100|00010008|a: header_length at host offset 0x64: 65544; allowed are multiples of 8 from 104 to the cluster size, 65536",
        "100|80000000|a: header_length at host offset 0x64: 2147483648; allowed are multiples of 8 from 104 to the cluster size, 65536",
        "100|00000078|a: header at host offset 0x0: the file ends after 112 bytes; the header has 120",
        "8|0000000000010001|a: backing_file_offset at host offset 0x8: 0x10001; allowed are 0 and 0x70 to the end of cluster 0, 0x10000",
        "8|8000000000000000|a: backing_file_offset at host offset 0x8: 0x8000000000000000; allowed are 0 and 0x70 to the end of cluster 0, 0x10000",
        "8|0000000000000010|a: backing_file_offset at host offset 0x8: 0x10; allowed are 0 and 0x70 to the end of cluster 0, 0x10000",
        "8|0000000000000100 00000400|a: backing_file_size at host offset 0x10: 1024; the name has at most 1023 bytes and ends within cluster 0",
        "8|000000000000ffff 00000002|a: backing_file_size at host offset 0x10: 2; the name has at most 1 bytes and ends within cluster 0",
        "8|0000000000000100 ffffffff|a: backing_file_size at host offset 0x10: 4294967295; the name has at most 1023 bytes and ends within cluster 0",
        "96|00000007|a: refcount_order at host offset 0x60: 7; reference counts may not exceed 64 bits, order 6",
        "96|ffffffff|a: refcount_order at host offset 0x60: 4294967295; reference counts may not exceed 64 bits, order 6",
        "104|01|a: compression_type at host offset 0x68: 1; incompatible bit 3 is not set, and must be set if and only if the type is not 0",
        "72|0000000000000008|a: compression_type at host offset 0x68: 0; incompatible bit 3 is set, and must be set if and only if the type is not 0",
        "56|00000000|a: refcount_table_clusters at host offset 0x38: 0; the image has no refcount table",
        "48|0000000000000000|a: refcount_table_offset at host offset 0x30: 0; the image has no refcount table",
        "56|00000081|a: refcount_table_clusters at host offset 0x38: 129; at most 128, which is 8 MiB",
        "56|ffffffff|a: refcount_table_clusters at host offset 0x38: 4294967295; at most 128, which is 8 MiB",
        "48|0000000000010200|a: refcount_table_offset at host offset 0x30: 0x10200; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "48|8000000000000000|a: refcount_table_offset at host offset 0x30: 0x8000000000000000; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "48|7fffffffffff0000|a: refcount_table_offset at host offset 0x30: 0x7fffffffffff0000; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "60|00010001|a: nb_snapshots at host offset 0x3c: 65537; at most 65536",
        "60|00000001|a: snapshots_offset at host offset 0x40: 0x0, which is the header's place, but the table is not empty",
        "60|00000001 0000000000000010|a: snapshots_offset at host offset 0x40: 0x10; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "60|00000001 ffffffffffff0000|a: snapshots_offset at host offset 0x40: 0xffffffffffff0000; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "36|00400001|a: l1_size at host offset 0x24: 4194305 entries; at most 4194304, which is 32 MiB",
        "36|ffffffff|a: l1_size at host offset 0x24: 4294967295 entries; at most 4194304, which is 32 MiB",
        "36|00000000|a: l1_size at host offset 0x24: 0 entries; a disk of 1048576 bytes needs 1",
        "24|0000000020000001|a: l1_size at host offset 0x24: 1 entries; a disk of 536870913 bytes needs 2",
        "24|8000000000000000|a: size at host offset 0x18: 9223372036854775808 bytes; less than 2^63",
        "24|7fffffffffffffff|a: l1_size at host offset 0x24: 1 entries; a disk of 9223372036854775807 bytes needs 17179869184",
        "40|0000000000030008|a: l1_table_offset at host offset 0x28: 0x30008; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "40|fffffffffff00000|a: l1_table_offset at host offset 0x28: 0xfffffffffff00000; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "40|0100000000000000|a: l1_table_offset at host offset 0x28: 0x100000000000000; a multiple of the cluster size, 0x10000, that ends at most at 2^56",
        "40|0000000000000000|a: l1_table_offset at host offset 0x28: 0x0, which is the header's place, but the table is not empty",
        "88|0000000000000002|a: autoclear_features at host offset 0x58: bit 1 (raw external data) is set, which needs incompatible bit 2 (external data file)"
      })
  void aBadFieldIsNamedWithItsPlaceAndWhatIsAllowed(int at, String value, String message) {
    assertThatThrownBy(() -> Header.parse(header(at, value), "a"))
        .isInstanceOf(ImageFormatException.class)
        .hasMessage(message)
        .satisfies(e -> assertThat(((ImageException) e).hostOffset()).isNotNegative());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "4|00000001|a: version at host offset 0x4: qcow2 version 1; known are 2 and 3",
        "4|ffffffff|a: version at host offset 0x4: qcow2 version 4294967295; known are 2 and 3",
        "32|00000003|a: crypt_method at host offset 0x20: encryption method 3; known are 0 (none), 1 (AES), 2 (LUKS)",
        "72|0000000000000060|a: incompatible_features at host offset 0x48: unsupported: bit 5, bit 6; known are bits 0 to 4",
        "72|8000000000000000|a: incompatible_features at host offset 0x48: unsupported: bit 63; known are bits 0 to 4"
      })
  void whatIsNotKnownHereIsToldApartFromWhatIsWrong(int at, String value, String message) {
    assertThatThrownBy(() -> Header.parse(header(at, value), "a"))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessage(message);
  }

  @Test
  void anUnknownCompressionTypeIsUnsupported() {
    ByteBuffer bytes = header(72, "0000000000000008").put(104, (byte) 2);

    assertThatThrownBy(() -> Header.parse(bytes, "a"))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessage(
            "a: compression_type at host offset 0x68: 2; known are 0 (deflate) and 1 (zstd)");
  }

  @Test
  void anUnknownFeatureHasTheNameThatTheImageGivesIt() {
    String table =
        "6803f857 00000060 0005"
            + "6d61676963"
            + "00".repeat(41)
            + "0006"
            + "61076200"
            + "00".repeat(42);
    ByteBuffer bytes = bytes(hex(header(72, "0000000000000060")) + plain(table));

    assertThatThrownBy(() -> Header.parse(bytes, "a"))
        .hasMessageContaining("unsupported: bit 5 (magic), bit 6 (a?b);");
  }

  @Test
  void extendedL2NeedsLargeClustersAndALongerL1Table() {
    ByteBuffer small = header(72, "0000000000000010").put(23, (byte) 13);
    assertThatThrownBy(() -> Header.parse(small, "a"))
        .hasMessageContaining("extended L2 entries need clusters of 16 KiB to 2 MiB");

    ByteBuffer large = header(72, "0000000000000010").putLong(24, (256 << 20) + 1);
    assertThatThrownBy(() -> Header.parse(large, "a")).hasMessageContaining("needs 2");
  }

  @Test
  void anImageWithoutRefcountTableCanBeParsedForACheck() throws Exception {
    assertThat(Header.parseForCheck(header(56, "00000000"), "a").refcountTableClusters()).isZero();
  }

  @Test
  void aShortFileIsNoHeader() {
    for (int length = 0; length < 112; length++) {
      ByteBuffer cut = bytes(HEADER).limit(length);
      assertThatThrownBy(() -> Header.parse(cut, "a")).isInstanceOf(ImageFormatException.class);
    }
  }

  @Test
  void probeLooksAtMagicAndVersion() {
    assertThat(Header.probe(bytes(HEADER))).isTrue();
    assertThat(Header.probe(bytes(V2))).isTrue();
    assertThat(Header.probe(header(4, "00000004"))).isFalse();
    assertThat(Header.probe(bytes("514649fb000000"))).isFalse();
    assertThat(Header.probe(bytes("00".repeat(512)))).isFalse();
  }

  @Test
  void fieldsThatChangeInPlaceAreWhereTheConstantsSay() throws Exception {
    Header h =
        Header.parse(bytes(HEADER), "a")
            .withSize(0x1111)
            .withL1(0x22, 0x330000)
            .withRefcountTable(0x440000, 0x55)
            .withSnapshots(0x66, 0x770000)
            .withIncompatible(0x88)
            .withCompatible(0x99)
            .withAutoclear(0xaa);
    ByteBuffer out = ByteBuffer.allocate(112);
    h.write(out);

    assertThat(out.getLong(Header.AT_SIZE)).isEqualTo(0x1111);
    assertThat(out.getInt(Header.AT_L1)).isEqualTo(0x22);
    assertThat(out.getLong(Header.AT_L1 + 4)).isEqualTo(0x330000);
    assertThat(out.getLong(Header.AT_REFTABLE)).isEqualTo(0x440000);
    assertThat(out.getInt(Header.AT_REFTABLE + 8)).isEqualTo(0x55);
    assertThat(out.getInt(Header.AT_SNAPSHOTS)).isEqualTo(0x66);
    assertThat(out.getLong(Header.AT_SNAPSHOTS + 4)).isEqualTo(0x770000);
    assertThat(out.getLong(Header.AT_INCOMPATIBLE)).isEqualTo(0x88);
    assertThat(out.getLong(80)).isEqualTo(0x99);
    assertThat(out.getLong(Header.AT_AUTOCLEAR)).isEqualTo(0xaa);
  }

  @Test
  void theGuestSeesWholeSectors() throws Exception {
    assertThat(Header.parse(header(24, "00000000000ffffe"), "a").guestSize()).isEqualTo(0xffe00);
  }

  private static String written(Header h) {
    ByteBuffer out = ByteBuffer.allocate(h.headerLength());
    h.write(out);
    return hex(out.flip());
  }
}
