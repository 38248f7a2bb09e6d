package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class NodeNameTest {

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '^',
      textBlock =
          """
          driver=qcow2,file.filename=x|x
          file.filename=x|x
          driver=null-co|null-co://
          driver=raw,file.driver=null-aio|null-aio://
          driver=qcow2,file.driver=blkdebug,file.image.filename=x|blkdebug::x
          driver=qcow2,file.driver=blkdebug,file.config=c,file.image.filename=x|blkdebug:c:x
          driver=qcow2,file.driver=raw,file.file.filename=x|json:{"driver": "qcow2", "file": {"driver": "raw", "file": {"driver": "file", "filename": "x"}}}
          driver=qcow2,file.driver=qcow2,file.file.filename=x|json:{"driver": "qcow2", "file": {"driver": "qcow2", "file": {"driver": "file", "filename": "x"}}}
          driver=null-co,size=1M|json:{"driver": "null-co", "size": "1M"}
          driver=raw,offset=512,file.filename=x|json:{"offset": "512", "driver": "raw", "file": {"driver": "file", "filename": "x"}}
          driver=compress,file.driver=qcow2,file.file.filename=x|json:{"driver": "compress", "file": {"driver": "qcow2", "file": {"driver": "file", "filename": "x"}}}
          """)
  void saysAllInTheShortestWay(String list, String expected) throws Exception {
    assertEquals(expected, NodeName.of(options(list), "qcow2", false));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '^',
      textBlock =
          """
          driver=null-co,size=1024,read-zeroes=on|json:{"read-zeroes": true, "driver": "null-co", "size": 1024}
          """)
  void numbersAndSwitchesOfJsonStayWhatTheyWere(String list, String expected) throws Exception {
    assertEquals(expected, NodeName.of(options(list), "qcow2", true));
  }

  private static BlockOptions options(String list) {
    Map<String, String> map = new LinkedHashMap<>();
    for (OptionList.Pair pair : OptionList.pairs(list)) {
      map.put(pair.name(), pair.value());
    }
    return new BlockOptions(map);
  }
}
